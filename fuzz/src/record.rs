//! Records of an established TLS connection, from a peer that has the keys and follows no rule.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use gatepost_net::tls::session::{KeySchedule, MOST_OUTBOX, Session};
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::{ConnectionTrafficSecrets, Error, ExtractedSecrets, InvalidMessage, Side};

use super::recipe::{Chunks, Recipe};

/// Steps of one input.
const STEPS: usize = 64;
/// Most zeros of a long record, and how many long ones there are: they take the most time.
const LONG_UNIT: usize = 73;
const LONG: u8 = 2;
/// Records that a key with a short life seals.
const SHORT_LIFE: u64 = 4;

/// Flags: 0 TLS 1.3, 1 we are the client, 2 ChaCha20 and not AES, 3 our keys wear out soon. A bit
/// of the decisions per step: what waits is taken or not. The body is steps of a kind, with
/// arguments; see `Run::step`.
pub fn check(data: &[u8]) {
    if let Some(recipe) = Recipe::read(data) {
        let whole = Run::new(&recipe).run(recipe.chunks(false));
        assert_eq!(whole, Run::new(&recipe).run(recipe.chunks(true)), "another cut, another result");
    }
}

/// What came of it.
#[derive(Debug, PartialEq)]
struct Outcome {
    received: usize,
    sent: Vec<u8>,
    failed: Option<Error>,
    ended: bool,
}

/// The secret of a direction after so many key updates.
fn secret(to_client: bool, epoch: u16) -> ([u8; 32], [u8; 12]) {
    let [high, low] = epoch.to_be_bytes();
    let mut key = [u8::from(to_client); 32];
    (key[1], key[2]) = (high, low);
    (key, [7 ^ low; 12])
}

struct Schedule {
    client: bool,
    chacha: bool,
    /// Of what the server sends, and of what the client sends.
    epochs: [u16; 2],
}

impl Schedule {
    fn secrets(&self, to_client: bool, epoch: u16) -> ConnectionTrafficSecrets {
        let (key, iv) = secret(to_client, epoch);
        let (key, iv) = (AeadKey::from(key), Iv::new(iv));
        match self.chacha {
            true => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
            false => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
        }
    }
}

impl KeySchedule for Schedule {
    fn next_secrets(&mut self, own: bool) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        let to_client = own != self.client;
        let epoch = &mut self.epochs[usize::from(!to_client)];
        *epoch += 1;
        let epoch = *epoch;
        Ok((0, self.secrets(to_client, epoch)))
    }

    fn ticket(&mut self, body: &[u8]) -> Result<(), Error> {
        assert!(self.client && body.len() <= 64 * 1_024);
        if body.is_empty() { Err(Error::InvalidMessage(InvalidMessage::MessageTooShort)) } else { Ok(()) }
    }
}

/// One direction as the peer sees it, written from the RFCs: 8446 §5.2 and §5.3; 5288 §3 and 7905
/// §2.
struct Direction {
    tls13: bool,
    chacha: bool,
    to_client: bool,
    epoch: u16,
    sequence: u64,
    key: LessSafeKey,
    iv: [u8; 12],
}

impl Direction {
    fn new(tls13: bool, chacha: bool, to_client: bool, epoch: u16) -> Self {
        let (key, iv) = secret(to_client, epoch);
        let algorithm = if chacha { &CHACHA20_POLY1305 } else { &AES_256_GCM };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("32 octets"));
        Self { tls13, chacha, to_client, epoch, sequence: 0, key, iv }
    }

    fn update(&mut self) {
        *self = Self::new(self.tls13, self.chacha, self.to_client, self.epoch + 1);
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()).for_each(|(octet, of)| *octet ^= of);
        nonce
    }

    fn explicit(&self) -> usize {
        if self.tls13 || self.chacha { 0 } else { 8 }
    }

    fn aad(&self, kind: u8, plain: usize, sealed: usize) -> Vec<u8> {
        let header = |kind: u8, length: usize| [kind, 3, 3, (length >> 8) as u8, length as u8];
        match self.tls13 {
            true => header(23, sealed).to_vec(),
            false => [&self.sequence.to_be_bytes()[..], &header(kind, plain)].concat(),
        }
    }

    fn seal(&mut self, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
        let mut text = content.to_vec();
        if self.tls13 {
            text.push(kind);
        }
        text.resize(text.len() + padding, 0);
        let length = self.explicit() + text.len() + 16;
        let (nonce, aad) = (self.nonce(), self.aad(kind, text.len(), length));
        let explicit = &nonce[12 - self.explicit()..];
        let mut record = vec![if self.tls13 { 23 } else { kind }, 3, 3, (length >> 8) as u8, length as u8];
        record.extend_from_slice(explicit);
        let sealed = self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut text);
        sealed.expect("short enough");
        record.extend_from_slice(&text);
        self.sequence += 1;
        record
    }

    /// Takes the first record off; it must be a good one.
    fn open(&mut self, wire: &mut &[u8]) -> (u8, Vec<u8>) {
        let (header, rest) = wire.split_first_chunk::<5>().expect("whole records");
        assert_eq!(&header[1..3], [3, 3]);
        let (body, rest) = rest.split_at(usize::from(u16::from_be_bytes([header[3], header[4]])));
        *wire = rest;
        let mut nonce = self.nonce();
        let (explicit, sealed) = body.split_at(self.explicit());
        nonce[12 - self.explicit()..].copy_from_slice(explicit);
        let aad = self.aad(header[0], sealed.len() - 16, body.len());
        let mut text = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let text =
            self.key.open_in_place(nonce, Aad::from(aad), &mut text).expect("sealed with the right key").to_vec();
        self.sequence += 1;
        match self.tls13 {
            true => {
                assert_eq!(header[0], 23);
                let (kind, content) = text.split_last().expect("a type");
                (*kind, content.to_vec())
            }
            false => (header[0], text),
        }
    }
}

struct Run<'a> {
    session: Session,
    recipe: &'a Recipe<'a>,
    peer: Direction,
    ours: Direction,
    /// What the peer has sent of handshake messages, so that it changes its key when it must.
    handshake: Vec<u8>,
    /// Data that the peer has sealed, and how much of it has come out.
    data: Vec<u8>,
    received: usize,
    /// Received, and not a whole record.
    held: Vec<u8>,
    plain: Vec<u8>,
    /// Data that we have sealed, and all that has left.
    own: Vec<u8>,
    sent: Vec<u8>,
    failed: Option<Error>,
    closed: bool,
    /// A record was changed on its way.
    tampered: bool,
    long: u8,
}

impl<'a> Run<'a> {
    fn new(recipe: &'a Recipe<'a>) -> Self {
        let [tls13, client, chacha, short] = [0, 1, 2, 3].map(|bit| recipe.flag(bit));
        let schedule = Schedule { client, chacha, epochs: [0, 0] };
        let secrets = ExtractedSecrets { tx: (0, schedule.secrets(!client, 0)), rx: (0, schedule.secrets(client, 0)) };
        let role = if client { Side::Client } else { Side::Server };
        let life = if short { SHORT_LIFE } else { 1 << 24 };
        let schedule = tls13.then(|| Box::new(schedule) as Box<dyn KeySchedule>);
        Self {
            session: Session::new(role, secrets, life, schedule).expect("a known cipher"),
            recipe,
            peer: Direction::new(tls13, chacha, client, 0),
            ours: Direction::new(tls13, chacha, !client, 0),
            handshake: Vec::new(),
            data: Vec::new(),
            received: 0,
            held: Vec::new(),
            plain: Vec::new(),
            own: Vec::new(),
            sent: Vec::new(),
            failed: None,
            closed: false,
            tampered: false,
            long: 0,
        }
    }

    fn run(mut self, mut chunks: Chunks) -> Outcome {
        let mut body = self.recipe.body;
        for number in 0..STEPS {
            let Some(wire) = self.step(&mut body) else { break };
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let (chunk, behind) = chunks.cut(rest);
                self.receive(chunk);
                rest = behind;
            }
            if self.recipe.decisions & (1 << (number % 8)) == 0 {
                self.take();
            }
        }
        self.finish()
    }

    /// The next step: what it puts on the wire.
    fn step(&mut self, body: &mut &[u8]) -> Option<Vec<u8>> {
        let kind = octet(body)?;
        Some(match kind % 9 {
            // Data, a handshake message, an alert, a record of any type: length, content.
            0 => self.seal(23, body, 0),
            1 => self.seal(22, body, 0),
            2 => self.seal(21, body, 0),
            3 => {
                let kind = octet(body)?;
                self.seal(kind, body, 0)
            }
            // With padding, which TLS 1.2 takes for content: type, units, length, content.
            4 => {
                let (kind, units) = (octet(body)?, octet(body)?);
                let units = if self.long < LONG { units } else { 0 };
                self.long += u8::from(units > 0);
                self.seal(kind, body, usize::from(units) * LONG_UNIT)
            }
            // Octets as they are: length, octets.
            5 => {
                let octets = content(body).to_vec();
                self.tampered |= !octets.is_empty();
                octets
            }
            // Changed on its way: type, place, change, length, content.
            6 => {
                let (kind, place, change) = (octet(body)?, octet(body)?, octet(body)?);
                let data = self.data.len();
                let mut record = self.seal(kind, body, 0);
                self.data.truncate(data);
                let place = match usize::from(place) % record.len() {
                    // In TLS 1.2 the version is not what is authenticated, but what it ought to be.
                    2 => 3,
                    place => place,
                };
                record[place] ^= change | 1;
                self.tampered = true;
                record
            }
            // We say something: length, data.
            7 => {
                self.say(content(body));
                Vec::new()
            }
            // We close.
            _ => {
                self.session.close();
                self.closed |= self.failed.is_none();
                self.look();
                Vec::new()
            }
        })
    }

    fn seal(&mut self, kind: u8, body: &mut &[u8], padding: usize) -> Vec<u8> {
        let content = content(body);
        let tls13 = self.peer.tls13;
        let record = self.peer.seal(kind, content, padding);
        // A type of zero is padding: the type is what stands before it.
        let (kind, content) = match content.iter().rposition(|octet| *octet != 0) {
            Some(last) if tls13 && kind == 0 => (content[last], &content[..last]),
            _ => (kind, content),
        };
        match kind {
            23 => {
                self.data.extend_from_slice(content);
                self.data.resize(self.data.len() + if tls13 { 0 } else { padding }, 0);
            }
            22 if tls13 => self.follow(content),
            _ => {}
        }
        record
    }

    fn follow(&mut self, content: &[u8]) {
        self.handshake.extend_from_slice(content);
        while let Some(&[kind, a, b, c]) = self.handshake.first_chunk() {
            let length = 4 + u32::from_be_bytes([0, a, b, c]) as usize;
            if self.handshake.len() < length {
                return;
            }
            self.handshake.drain(..length);
            if kind == 24 {
                self.peer.update();
            }
        }
    }

    fn receive(&mut self, chunk: &[u8]) {
        self.held.extend_from_slice(chunk);
        while let Some(length) = self.session.first_record(&self.held) {
            assert!((5..=self.held.len()).contains(&length));
            self.plain.resize(length.max(self.plain.len()), 0);
            let over = self.session.ended();
            let opened = self.session.open(&self.held[..length], &mut self.plain[..length]);
            self.held.drain(..length);
            match opened {
                Ok(opened) => {
                    assert!(self.failed.is_none(), "opened behind an error");
                    assert!(!over || opened == 0, "opened behind the end");
                    let behind = &self.data[self.received..];
                    assert!(behind.starts_with(&self.plain[..opened]), "nobody sealed that as data");
                    self.received += opened;
                }
                Err(error) => {
                    assert!(!over && !self.session.ended(), "an error behind the end");
                    let first = self.failed.get_or_insert_with(|| error.clone());
                    assert_eq!(*first, error);
                }
            }
            self.look();
        }
        // A whole record of the greatest size, and nothing behind it.
        assert!(self.held.len() < 5 + 18_432);
    }

    fn say(&mut self, text: &[u8]) {
        let mut wire = vec![0; text.len() + 64];
        let free = self.session.outbox().is_empty() && !self.closed && self.failed.is_none();
        match self.session.seal(text, &mut wire) {
            Ok((taken, written)) => {
                assert!(free && taken <= text.len());
                self.own.extend_from_slice(&text[..taken]);
                self.sent.extend_from_slice(&wire[..written]);
            }
            // A worn key has no successor in TLS 1.2.
            Err(_) => assert!(!free || (!self.peer.tls13 && self.recipe.flag(3))),
        }
        self.look();
    }

    fn look(&self) {
        assert!(self.session.outbox().len() <= MOST_OUTBOX);
    }

    fn take(&mut self) {
        self.sent.extend_from_slice(self.session.outbox());
        self.session.sent(usize::MAX);
        assert!(self.session.outbox().is_empty());
    }

    /// What we have sent is what a peer can open, and ends as it must.
    fn finish(mut self) -> Outcome {
        self.take();
        let (mut wire, mut own, mut alerts) = (&self.sent[..], Vec::new(), Vec::new());
        while !wire.is_empty() {
            let over = alerts.last().is_some_and(|alert: &[u8; 2]| *alert != [1, 100]);
            assert!(!over, "something behind the last alert");
            match self.ours.open(&mut wire) {
                (23, content) => own.extend(content),
                (22, content) => {
                    assert!(self.ours.tls13 && content == [24, 0, 0, 1, 0]);
                    self.ours.update();
                }
                (21, content) => alerts.push(content.try_into().expect("two octets")),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(own, self.own);
        let warnings = alerts.iter().filter(|alert| **alert == [1, 100]).count();
        assert!(warnings <= usize::from(!self.ours.tls13), "more than one wish was declined");
        let last = alerts.last().filter(|alert| **alert != [1, 100]);
        match (&self.failed, last) {
            // RFC 8446 §6.2: the last alert says why; whoever has closed before has said its last
            // word.
            (_, last) if self.closed => assert_eq!(last, Some(&[1, 0])),
            (None | Some(Error::AlertReceived(_)), last) => assert_eq!(last, None),
            (Some(error), last) => assert!(last.is_some_and(|alert| alert[0] == 2), "{error} and no alert"),
        }
        let ended = self.session.ended();
        if self.tampered && self.held.is_empty() && !ended {
            assert!(self.failed.is_some(), "a changed record was taken");
        }
        Outcome { received: self.received, sent: self.sent, failed: self.failed, ended }
    }
}

fn octet(body: &mut &[u8]) -> Option<u8> {
    let (octet, rest) = body.split_first()?;
    *body = rest;
    Some(*octet)
}

fn content<'a>(body: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::from(octet(body).unwrap_or(0)).min(body.len());
    let (content, rest) = body.split_at(length);
    *body = rest;
    content
}
