//! What happened, as a number and, on demand, as lines.

/// The history of a life: a hash over all of it, and its lines if they were requested.
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(super) fn new(is_read: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: is_read.then(Vec::new),
        }
    }

    pub(super) const fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0100_0000_01b3);
        self.hash ^= self.hash >> 29;
    }

    pub(super) fn mix_text(&mut self, text: &str) {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.mix(text.len() as u64);
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(shortened(&line()));
        }
    }

    pub(super) fn into_parts(self) -> (u64, Vec<String>) {
        (self.hash, self.lines.unwrap_or_default())
    }
}

/// A line with `w5.2` for the identifier of task 2 of the fifth number that was drawn.
fn shortened(line: &str) -> String {
    let mut parts = line.split("00000000-0000-7000-0000-");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| {
        let (digits, rest) = part.split_at_checked(12).unwrap_or((part, ""));
        let number = u64::from_str_radix(digits, 16).unwrap_or_default();
        let workflow = number >> 12;
        match (number & 0xfff).checked_sub(1) {
            Some(task) => format!("w{workflow}.{task}{rest}"),
            None => format!("w{workflow}{rest}"),
        }
    });
    std::iter::once(first).chain(rest).collect()
}
