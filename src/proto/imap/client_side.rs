//! To be written.
use crate::proto::*;

/// The machine.
pub struct Imap;
impl Imap {
    /// A fresh one.
    pub fn new(_: ClientSettings) -> Self {
        todo!()
    }
}
impl ClientSide for Imap {
    fn handle_input(&mut self, _: &[u8]) {
        todo!()
    }
    fn poll_event(&mut self) -> Option<ClientEvent> {
        todo!()
    }
    fn poll_output(&mut self) -> Option<Vec<u8>> {
        todo!()
    }
    fn tls_established(&mut self) {
        todo!()
    }
    fn wants_input(&self) -> bool {
        todo!()
    }
    fn accept(&mut self, _: &Capabilities) {
        todo!()
    }
    fn refuse(&mut self, _: Refusal) {
        todo!()
    }
    fn resume(&mut self) {
        todo!()
    }
    fn close(&mut self, _: Farewell) {
        todo!()
    }
    fn take_leftovers(&mut self) -> Vec<u8> {
        todo!()
    }
}
