//! Server-sent events, as far as our streams use them.

use std::time::Duration;

use super::failure::{Code, Failure};

/// The largest event, bytes; ours are far smaller.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    /// Its name; empty for most.
    pub(crate) name: String,
    /// Its payload.
    pub(crate) data: String,
}

/// Reads events from the bytes of a stream, in whatever pieces they come.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    event: Event,
    has_data: bool,
    id: Option<String>,
    /// The identifier after which to go on, once the event it belongs to is complete.
    pub(crate) last_id: Option<String>,
    /// How long to wait before coming back, if the stream said so.
    pub(crate) retry: Option<Duration>,
}

impl Reader {
    /// The events that are complete with these bytes.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Failure> {
        self.bytes.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            events.extend(self.line(line.trim_end_matches(['\n', '\r'])));
        }
        if self.bytes.len() + self.event.data.len() > EVENT_BYTES_MAX {
            return Err(Failure::new(
                Code::Failed,
                "the service does not answer as agreed: an event of its stream has no end",
            ));
        }
        Ok(events)
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            if let Some(id) = self.id.take() {
                self.last_id = Some(id);
            }
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            "id" => self.id = Some(value.to_owned()),
            "retry" => self.retry = value.parse().ok().map(Duration::from_millis),
            // Comments are signs of life.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event {
            name: name.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn events_come_in_whatever_pieces() {
        let stream = "id: 0-0-1\nretry: 3000\n\ndata: {\"a\": \"ж\"}\nid:0-0-2\n\n: nothing new\nid: 0-0-3\n\n\
                      event: gap\r\ndata: one\r\ndata: two\r\n\r\nid: 0-0-9\ndata: half";
        for size in [1, 2, 7, stream.len()] {
            let mut reader = Reader::default();
            let mut events = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                events.extend(reader.read(piece).unwrap());
            }
            assert_eq!(
                events,
                [event("", "{\"a\": \"ж\"}"), event("gap", "one\ntwo")],
                "{size}"
            );
            assert_eq!(reader.last_id.as_deref(), Some("0-0-3"), "{size}");
            assert_eq!(reader.retry, Some(Duration::from_secs(3)), "{size}");
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut reader = Reader::default();
        let piece = vec![b'x'; 64 * 1024];
        let failed = (0..20).find_map(|_| reader.read(&piece).err());
        assert_eq!(failed.unwrap().code, Code::Failed);
    }
}
