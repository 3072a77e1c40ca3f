//! Splits received octets into lines and counted literals, with a limit on each.
//!
//! The octets may hold a password. They are wiped when they are taken out, dropped, or moved by
//! growth.

use std::mem;

use memchr::{memchr, memchr2};
use zeroize::{Zeroize as _, Zeroizing};

/// Octets that were received but not parsed yet. An empty buffer owns no memory.
#[derive(Default)]
pub(in crate::mail) struct LineBuffer {
    octets: Zeroizing<Vec<u8>>,
    /// How many octets at the start have been taken and wiped. They are removed when they are half
    /// of all, so that the cost of a line does not depend on how much is held after it.
    taken: usize,
    /// How many of the next octets hold no LF, so that slow input is not searched again.
    searched: usize,
    /// Whether the last line taken ended in a bare LF.
    bare: bool,
    /// Octets that were copied within the buffer.
    #[cfg(test)]
    moved: usize,
}

/// A line, or what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mail) enum Line {
    /// The line without its end; no NUL, CR or LF is in it.
    Text(Zeroizing<Vec<u8>>),
    /// The line holds NUL or a bare CR, or ends in a bare LF where that is not accepted. It has
    /// been removed.
    Flawed,
    /// The line has no end within the limit. It is not removed, because its rest could not be told
    /// from what follows.
    TooLong,
}

impl LineBuffer {
    /// Adds received octets. This is not bounded here; the caller must stop reading in time.
    pub(in crate::mail) fn push(&mut self, received: &[u8]) {
        append(&mut self.octets, received);
    }

    /// How many octets are held.
    pub(in crate::mail) fn len(&self) -> usize {
        self.peek().len()
    }

    /// True if no octets are held.
    pub(in crate::mail) fn is_empty(&self) -> bool {
        self.peek().is_empty()
    }

    /// The octets held, without taking them.
    pub(in crate::mail) fn peek(&self) -> &[u8] {
        self.octets.get(self.taken..).unwrap_or_default()
    }

    /// The next line, if it is complete or known to exceed `limit` octets with its end. Every LF
    /// ends a line, so that a peer which sends only bare LFs gets an answer. Such a line is valid
    /// only with `bare_lf`.
    pub(in crate::mail) fn take_line(&mut self, limit: usize, bare_lf: bool) -> Option<Line> {
        self.take_line_without(&[], limit, bare_lf)
    }

    /// The same without blanks and NULs around the line, which some devices send with base64.
    pub(in crate::mail) fn take_trimmed_line(&mut self, limit: usize, bare_lf: bool) -> Option<Line> {
        self.take_line_without(b" \t\0", limit, bare_lf)
    }

    fn take_line_without(&mut self, around: &[u8], limit: usize, bare_lf: bool) -> Option<Line> {
        let held = self.peek();
        let within = held.get(..limit).unwrap_or(held);
        let searched = self.searched.min(within.len());
        let (_, unsearched) = within.split_at(searched);
        let Some(end) = memchr(b'\n', unsearched).map(|at| searched + at) else {
            let (searched, full) = (within.len(), within.len() == limit);
            self.searched = searched;
            return full.then_some(Line::TooLong);
        };
        let mut line = self.take(end + 1);
        line.truncate(end);
        self.bare = line.last() != Some(&b'\r');
        if !self.bare {
            line.truncate(end - 1);
        } else if !bare_lf {
            return Some(Line::Flawed);
        }
        let kept = line.iter().rposition(|octet| !around.contains(octet)).map_or(0, |last| last + 1);
        line.truncate(kept);
        let leading = line.iter().take_while(|octet| around.contains(octet)).count();
        line.rotate_left(leading);
        line.truncate(kept - leading);
        Some(if memchr2(b'\0', b'\r', &line).is_some() { Line::Flawed } else { Line::Text(line) })
    }

    /// Whether the last line that was taken ended in a bare LF.
    pub(in crate::mail) fn ended_in_bare_lf(&self) -> bool {
        self.bare
    }

    /// The next `count` octets, whatever they are, once all of them have arrived.
    pub(in crate::mail) fn take_octets(&mut self, count: usize) -> Option<Zeroizing<Vec<u8>>> {
        (self.len() >= count).then(|| self.take(count))
    }

    /// All octets that are held.
    pub(in crate::mail) fn take_all(&mut self) -> Vec<u8> {
        mem::take(&mut *self.take(self.len()))
    }

    /// Puts a line that was taken back to the beginning.
    pub(in crate::mail) fn put_back(&mut self, line: &[u8]) {
        let behind = self.take(self.len());
        self.push(line);
        self.push(b"\r\n");
        self.push(&behind);
    }

    /// Removes everything.
    pub(in crate::mail) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes this many octets, which must be held.
    fn take(&mut self, count: usize) -> Zeroizing<Vec<u8>> {
        self.searched = 0;
        let end = self.taken + count;
        if self.taken == 0 && end == self.octets.len() {
            return mem::take(&mut self.octets);
        }
        let place = self.octets.get_mut(self.taken..end).unwrap_or_default();
        let line = Zeroizing::new(place.to_vec());
        place.zeroize();
        self.taken = end;
        if self.taken >= self.octets.len() / 2 {
            let rest = Zeroizing::new(self.peek().to_vec());
            #[cfg(test)]
            (self.moved += rest.len());
            self.octets = rest;
            self.taken = 0;
        }
        line
    }
}

/// Appends to a buffer that may hold a secret. If the buffer must grow, the old memory is wiped,
/// which `Vec` does not do.
pub(in crate::mail) fn append(buffer: &mut Zeroizing<Vec<u8>>, more: &[u8]) {
    let needed = buffer.len() + more.len();
    if needed > buffer.capacity() {
        let mut grown = Zeroizing::new(Vec::with_capacity(needed.max(buffer.capacity() * 2)));
        grown.extend_from_slice(buffer);
        *buffer = grown;
    }
    buffer.extend_from_slice(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], limit: usize, bare_lf: bool) -> (Vec<Line>, Vec<u8>) {
        let mut buffer = LineBuffer::default();
        buffer.push(input);
        let mut lines = Vec::new();
        while let Some(line) = buffer.take_line(limit, bare_lf) {
            let end = line == Line::TooLong;
            lines.push(line);
            if end {
                break;
            }
        }
        (lines, buffer.take_all())
    }

    fn text(text: &[u8]) -> Line {
        Line::Text(Zeroizing::new(text.to_vec()))
    }

    #[test]
    fn lines_end_in_crlf() {
        assert_eq!(
            lines(b"a\r\n\r\nb c\r\nrest", 10, false),
            (vec![text(b"a"), text(b""), text(b"b c")], b"rest".into())
        );
    }

    #[test]
    fn other_ends_are_flaws_that_end_a_line_all_the_same() {
        for (input, flawed) in [
            (&b"a\nb\r\n"[..], [true, false]),
            (b"a\rb\r\nc\r\n", [true, false]),
            (b"a\r\r\nb\r\n", [true, false]),
            (b"a\0\r\nb\r\n", [true, false]),
            (b"\n\r\n", [true, false]),
            (b"a\r\n\n", [false, true]),
        ] {
            let (lines, rest) = lines(input, 10, false);
            assert_eq!(lines.iter().map(|l| *l == Line::Flawed).collect::<Vec<_>>(), flawed, "{input:?}");
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_bare_lf_is_accepted_where_it_may_be() {
        assert_eq!(lines(b"a\nb\r\n", 10, true).0, [text(b"a"), text(b"b")]);
        assert_eq!(lines(b"a\r\r\n", 10, true).0, [Line::Flawed]);
    }

    #[test]
    fn how_a_line_ended_is_known_when_it_is_taken() {
        let mut buffer = LineBuffer::default();
        buffer.push(b"a\r\nb\nc\r\nd");
        let mut ends = Vec::new();
        while buffer.take_line(10, true).is_some() {
            ends.push(buffer.ended_in_bare_lf());
        }
        assert_eq!(ends, [false, true, false]);
    }

    #[test]
    fn the_limit_counts_the_end() {
        assert_eq!(lines(b"12345678\r\n", 10, false).0, [text(b"12345678")]);
        assert_eq!(lines(b"123456789\r\n", 10, false).0, [Line::TooLong]);
        assert_eq!(lines(b"1234567890", 10, false).0, [Line::TooLong]);
        assert_eq!(lines(b"123456789", 10, false).0, []);
    }

    #[test]
    fn octets_are_taken_whole() {
        let mut buffer = LineBuffer::default();
        buffer.push(b"\r\n\0ab");
        assert_eq!(buffer.take_octets(6), None);
        assert_eq!(buffer.take_octets(3).unwrap().as_slice(), b"\r\n\0");
        assert_eq!(buffer.take_octets(2).unwrap().as_slice(), b"ab");
        assert_eq!(buffer.octets.capacity(), 0, "empty, it owns no memory");
        buffer.push(b"NOOP\r\nPASS secret\r\n");
        buffer.push(&[b'x'; 100]);
        buffer.take_line(100, false).unwrap();
        buffer.take_line(100, false).unwrap();
        assert!(buffer.octets.get(..buffer.taken).unwrap().iter().all(|octet| *octet == 0), "what is taken is wiped");
        assert_eq!(buffer.peek(), [b'x'; 100]);
        assert_eq!(buffer.take_all(), [b'x'; 100]);
        assert_eq!(buffer.octets.capacity(), 0);
    }

    #[test]
    fn slow_input_gives_the_same_lines() {
        let mut buffer = LineBuffer::default();
        let mut taken = Vec::new();
        for octet in b"ab\r\n\r\ncd\n" {
            buffer.push(&[*octet]);
            taken.extend(buffer.take_line(6, false));
        }
        assert_eq!(taken, [text(b"ab"), text(b""), Line::Flawed]);
    }

    #[test]
    fn short_lines_are_taken_in_linear_work() {
        for line in ["\n", "\r\n", "NOOP\r\n"] {
            for octets in [1_000, 16_000, 64_000] {
                let mut buffer = LineBuffer::default();
                buffer.push(line.repeat(octets / line.len()).as_bytes());
                let held = buffer.len();
                while buffer.take_line(100, true).is_some() {}
                assert!(buffer.is_empty() && buffer.moved <= 2 * held, "{} octets moved of {held}", buffer.moved);
            }
        }
    }
}
