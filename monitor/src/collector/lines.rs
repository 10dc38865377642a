//! Lines of a stream of bytes, of bounded length. Pure.

/// Takes bytes as they come, and gives the complete lines.
#[derive(Debug)]
pub(super) struct LineReader {
    /// Longest line, bytes.
    longest: usize,
    /// Complete lines, each with its end, and then the beginning of the next one.
    held: Vec<u8>,
    /// How many bytes of those are complete lines.
    complete: usize,
    /// What comes belongs to a line that is too long.
    discards: bool,
}

impl LineReader {
    pub(super) fn new(longest: usize) -> Self {
        Self {
            longest,
            held: Vec::new(),
            complete: 0,
            discards: false,
        }
    }

    /// Takes bytes; returns how many lines turned out to be too long by them, and are left out.
    pub(super) fn add(&mut self, bytes: &[u8]) -> usize {
        let mut too_long = 0;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = piece.last() == Some(&b'\n');
            if !self.discards {
                self.held.extend_from_slice(piece);
                if self.held.len() - self.complete > self.longest + usize::from(ends) {
                    too_long += 1;
                    self.held.truncate(self.complete);
                    self.discards = true;
                }
            }
            if ends {
                self.discards = false;
                self.complete = self.held.len();
            }
        }
        too_long
    }

    /// Takes out the complete lines.
    pub(super) fn complete(&mut self) -> Vec<u8> {
        let rest = self.held.split_off(self.complete);
        self.complete = 0;
        std::mem::replace(&mut self.held, rest)
    }

    /// A line has begun and not ended.
    pub(super) fn is_in_a_line(&self) -> bool {
        self.discards || self.held.len() > self.complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_complete_whole_and_bounded() {
        for (pieces, lines, too_long, rest) in [
            (&["a 1\nb 2\n"][..], "a 1\nb 2\n", 0, false),
            (&["a ", "1", "\n"], "a 1\n", 0, false),
            (&["a 1\nb"], "a 1\n", 0, true),
            (&["\n\n"], "\n\n", 0, false),
            (&["12345678\n"], "12345678\n", 0, false), // as long as may be
            (&["123456789\nb 2\n"], "b 2\n", 1, false),
            (&["12345", "6789", "0\nb 2\n"], "b 2\n", 1, false),
            (&["123456789", "123456789", "123456789"], "", 1, true),
            (&["a 1\n123456789\n123456789\nb 2\n"], "a 1\nb 2\n", 2, false),
            (&[""], "", 0, false),
        ] {
            let mut reader = LineReader::new(8);
            let (mut taken, mut left_out) = (Vec::new(), 0);
            for piece in pieces {
                left_out += reader.add(piece.as_bytes());
                taken.extend(reader.complete());
            }
            assert_eq!(String::from_utf8_lossy(&taken), lines, "{pieces:?}");
            assert_eq!((left_out, reader.is_in_a_line()), (too_long, rest), "{pieces:?}");
        }
    }

    #[test]
    fn an_endless_line_needs_no_memory() {
        let mut reader = LineReader::new(1_000);
        let too_long: usize = (0..1_000).map(|_| reader.add(&[b'x'; 10_000])).sum();
        assert_eq!((too_long, reader.complete().len()), (1, 0));
        assert!(reader.held.capacity() < 50_000, "{}", reader.held.capacity());
    }
}
