//! How an input is read: three octets that choose, then octets for the machine.

/// An input, taken apart.
pub struct Recipe<'a> {
    /// Settings; what each bit means is the target's affair.
    pub flags: u8,
    /// What the caller decides where it has a choice, a bit each.
    pub decisions: u8,
    /// Seed of the chunk sizes; 0: octet by octet.
    seed: u8,
    /// What the peer sends. `0xFF`, which no line of text has, divides what comes before a TLS
    /// handshake from what comes after it.
    pub body: &'a [u8],
}

impl<'a> Recipe<'a> {
    /// `None` when the input is too short to choose anything.
    pub fn read(data: &'a [u8]) -> Option<Self> {
        let (&[flags, decisions, seed], body) = data.split_first_chunk()?;
        // '0' is the smallest digit that is easy to type.
        Some(Self { flags, decisions, seed: seed.wrapping_sub(b'0'), body })
    }

    /// One of the flags.
    pub fn flag(&self, bit: u8) -> bool {
        self.flags & (1 << bit) != 0
    }

    /// The parts of the body.
    pub fn flights(&self) -> impl Iterator<Item = &'a [u8]> {
        self.body.split(|octet| *octet == 0xff)
    }

    /// Sizes for cutting the body into chunks.
    pub fn chunks(&self, split: bool) -> Chunks {
        Chunks(if split { Some(self.seed.into()) } else { None })
    }
}

/// Sizes of chunks: everything at once, or as a seed says.
pub struct Chunks(Option<u32>);

impl Chunks {
    /// Cuts the next chunk off.
    pub fn cut<'a>(&mut self, octets: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let size = match &mut self.0 {
            None => octets.len(),
            Some(0) => 1,
            Some(state) => {
                *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let spread = [1, 2, 3, 5, 8, 20, 60, 300][(*state >> 24) as usize % 8];
                // Never 0, which would mean octet by octet from here on.
                *state |= 1;
                spread
            }
        };
        octets.split_at(size.min(octets.len()))
    }
}

/// What a machine did, for comparing two runs over the same octets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Its events in words.
    pub events: Vec<String>,
    /// Everything it sent.
    pub output: Vec<u8>,
    /// What it handed on, with what it had not been given yet.
    pub leftovers: Vec<u8>,
    /// TLS was asked for while more was to come, which depends on the splitting; the outputs differ
    /// then.
    pub raced: bool,
}

impl Trace {
    /// Both runs came to the same.
    pub fn assert_same(&self, other: &Self) {
        assert_eq!(self.events, other.events);
        if !self.raced && !other.raced {
            assert_eq!(self, other);
        }
    }

    /// Takes output, and checks that it is whole lines of printable ASCII.
    pub fn sent(&mut self, output: Option<Vec<u8>>) {
        let Some(output) = output else { return };
        let lines = output.strip_suffix(b"\r\n").expect("output ends in CRLF");
        for line in lines.split(|octet| *octet == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            assert!(line.iter().all(|octet| (0x20..0x7f).contains(octet)), "{:?}", String::from_utf8_lossy(line));
        }
        self.output.extend(output);
        assert!(self.output.len() <= 64 * 1_024, "more output than any conversation before a login has");
    }
}
