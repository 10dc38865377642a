//! Reads what a response says of the request: the items that were rejected, and a message. The responses of the three
//! signals have the same fields (OTLP's specification, "Partial Success").

use bytes::{Buf, Bytes};
use prost::{Message, encoding::decode_varint};
use serde_json::Value;

use super::{answer::Accepted, quote::Quote};

/// `ExportMetricsServiceResponse`, and those of logs and traces.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// `ExportMetricsPartialSuccess`, and those of logs and traces.
#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// The response in `body`, as protobuf; `None` where it is none.
pub(super) fn protobuf(body: &Bytes, quote: &Quote) -> Option<Accepted> {
    let partial = Response::decode(body.clone()).ok()?.partial_success;
    let PartialSuccess {
        rejected,
        error_message,
    } = partial.unwrap_or_default();
    Some(Accepted {
        rejected: u64::try_from(rejected).unwrap_or_default(),
        remark: quote.text(&error_message),
        unread: false,
    })
}

/// The response of which `body` is the beginning alone, as protobuf: a message can be very long, and the count stands
/// before it. `None` where the count is not to be found.
pub(super) fn protobuf_beginning(body: &Bytes, quote: &Quote) -> Option<Accepted> {
    /// Keys of the fields (their number, and their wire type).
    const PARTIAL_SUCCESS: u64 = 1 << 3 | 2;
    const REJECTED: u64 = 1 << 3;
    const MESSAGE: u64 = 2 << 3 | 2;
    let mut rest = body.as_ref();
    let mut next = || decode_varint(&mut rest).ok();
    if next()? != PARTIAL_SUCCESS {
        return None;
    }
    let _length = next()?;
    if next()? != REJECTED {
        return None;
    }
    let rejected = next()?;
    if next() == Some(MESSAGE) {
        next()?;
    } else {
        rest.advance(rest.len());
    }
    Some(Accepted {
        rejected: u64::try_from(rejected.cast_signed()).unwrap_or_default(),
        remark: quote.bytes(rest),
        unread: false,
    })
}

/// The response in `body`, as JSON (protobuf's JSON mapping, which writes 64-bit integers as strings); `None` where it
/// is none.
pub(super) fn json(body: &[u8], quote: &Quote) -> Option<Accepted> {
    let response: Value = serde_json::from_slice(body).ok()?;
    let partial = either(&response, "partialSuccess", "partial_success");
    let count = |names: [(&str, &str); 3]| {
        let value = names
            .iter()
            .find_map(|(camel, snake)| either(partial?, camel, snake))?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    };
    let rejected = count([
        ("rejectedDataPoints", "rejected_data_points"),
        ("rejectedLogRecords", "rejected_log_records"),
        ("rejectedSpans", "rejected_spans"),
    ]);
    let message = partial.and_then(|partial| either(partial, "errorMessage", "error_message")?.as_str());
    response.is_object().then(|| Accepted {
        rejected: rejected.unwrap_or_default(),
        remark: quote.text(message.unwrap_or_default()),
        unread: false,
    })
}

fn either<'a>(object: &'a Value, camel: &str, snake: &str) -> Option<&'a Value> {
    object.get(camel).or_else(|| object.get(snake))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(accepted: Option<Accepted>) -> Option<(u64, String)> {
        accepted.map(|accepted| (accepted.rejected, accepted.remark))
    }

    #[test]
    fn json_of_every_signal_is_read() {
        for (text, expected) in [
            ("{}", Some((0, ""))),
            (r#"{"partialSuccess":{}}"#, Some((0, ""))),
            (r#"{"partialSuccess":null}"#, Some((0, ""))),
            (
                r#"{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"old"}}"#,
                Some((3, "old")),
            ),
            (r#"{"partialSuccess":{"rejectedLogRecords":4}}"#, Some((4, ""))),
            (r#"{"partial_success":{"rejected_spans":"5"}}"#, Some((5, ""))),
            (r#"{"partialSuccess":{"rejectedSpans":"-5"}}"#, Some((0, ""))),
            ("[]", None),
            ("{", None),
            ("OK", None),
        ] {
            let read = said(json(text.as_bytes(), &Quote::default()));
            assert_eq!(
                read,
                expected.map(|(count, remark)| (count, remark.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn the_count_is_found_where_the_message_is_cut() {
        let response = |rejected| Response {
            partial_success: Some(PartialSuccess {
                rejected,
                error_message: "too old, ".repeat(100),
            }),
        };
        let cut = |rejected| Bytes::from(response(rejected).encode_to_vec()).slice(..200);
        let quote = Quote::default();
        let accepted = protobuf_beginning(&cut(3), &quote).unwrap();
        assert_eq!(accepted.rejected, 3);
        assert!(
            accepted.remark.starts_with("too old, too old"),
            "{}",
            accepted.remark
        );
        assert_eq!(said(protobuf(&cut(3), &quote)), None, "it is not whole");
        // Without a count, the message comes first, and the count may follow.
        assert_eq!(said(protobuf_beginning(&cut(0), &quote)), None);
        assert_eq!(said(protobuf_beginning(&Bytes::new(), &quote)), None);
    }
}
