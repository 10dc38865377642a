//! The header line of each service.

use super::{Detail, Found, counted};
use crate::{
    export::{
        amounts::{Amount, Precision},
        collection::{Collection, ServiceReading},
        fields::RESTARTS,
        page::{Line, Piece, Tone},
    },
    plugin::Reading,
};

/// The header lines of all services, with their columns at the same places.
pub(super) struct Headers {
    pub(super) lines: Vec<Line>,
}

/// The mark, the name, and what follows it.
type Cells = (Piece, Piece, Vec<Piece>);

/// Names that are longer than this stand out of their column.
const WIDEST_NAME: usize = 40;

impl Headers {
    pub(super) fn of(collection: &Collection, detail: Detail) -> Self {
        let cells: Vec<Cells> = collection
            .services
            .iter()
            .map(|service| header_cells(collection, service, detail))
            .collect();
        let widths = |of: &dyn Fn(&Cells) -> Option<usize>| {
            let widths = cells.iter().filter_map(of);
            widths.filter(|&width| width <= WIDEST_NAME).max().unwrap_or(0)
        };
        let name = widths(&|cells| Some(cells.1.width()));
        let columns = cells.iter().map(|cells| cells.2.len()).max().unwrap_or(0);
        let of_column: Vec<usize> = (0..columns)
            .map(|at| widths(&|cells| (cells.2.len() > 1).then(|| cells.2.get(at).map(Piece::width))?))
            .collect();
        let lines = cells.into_iter().map(|(mark, service, rest)| {
            let mut line = Line::default();
            line.push(mark).add(Tone::Plain, " ").push(service);
            let mut end = line.width().max(2 + name) + 2;
            line.pad(end).hang();
            for (piece, width) in rest.into_iter().zip(&of_column) {
                let width = piece.width().max(*width);
                line.pad(end).push(piece);
                end += width + 2;
            }
            line
        });
        Self {
            lines: lines.collect(),
        }
    }
}

/// The cells of a header.
fn header_cells(collection: &Collection, service: &ServiceReading, detail: Detail) -> Cells {
    let reading = &service.reading;
    let good = Piece::new(Tone::Good, "✓");
    let bad = Piece::new(Tone::Bad, "✗");
    let name = format!("{} ({})", service.plugin.label(), service.plugin.service_name());
    let name = Piece::new(Tone::Strong, name);
    let plain = |text: &str| Piece::new(Tone::Plain, text);
    match Found::of(service) {
        Found::Values if service.extra.custom.is_empty() => {
            (bad, name, vec![Piece::new(Tone::Warning, "no values")])
        }
        Found::Values => (good, name, vec![plain("values of its own")]),
        Found::Nothing => {
            let what = if collection.health.hidden.is_some() {
                "not known, no visible process"
            } else {
                "no process found"
            };
            (bad, name, vec![Piece::new(Tone::Warning, what)])
        }
        Found::Processes => {
            let precision = detail.precision;
            let with_unit = |text: Option<String>, unit: &str| match text {
                Some(text) => plain(&format!("{text} {unit}")),
                None => Piece::new(Tone::Warning, format!("{unit} not known")),
            };
            let count = reading.process_count;
            let mut cells = vec![
                plain(&counted(count, "process", "processes")),
                with_unit(Amount::Cpus(reading.cpus).text(precision), "CPU"),
                with_unit(Amount::Bytes(reading.rss).text(precision), "RSS"),
                restarts(reading, precision),
            ];
            if reading.crash_loop {
                cells.push(Piece::new(
                    Tone::Bad,
                    "CRASH LOOP: keeps failing and being replaced",
                ));
            }
            (good, name, cells)
        }
    }
}

fn restarts(reading: &Reading, precision: Precision) -> Piece {
    let number = match (RESTARTS.amount)(reading) {
        Amount::Count(Some(0)) => return Piece::new(Tone::Plain, "no restarts"),
        Amount::Count(Some(number)) => number,
        _ => return Piece::new(Tone::Warning, "restarts not known"),
    };
    let text = RESTARTS.text(precision, |part| part(reading)).unwrap_or_default();
    let text = match text.split_once(": ") {
        Some((_, parts)) => format!("{} ({parts})", counted(number, "restart", "restarts")),
        None => counted(number, "restart", "restarts"),
    };
    Piece::new(Tone::Warning, text)
}
