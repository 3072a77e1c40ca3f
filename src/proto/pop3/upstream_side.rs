//! To be written.
use crate::proto::*;

/// The machine.
pub struct Pop3;
impl Pop3 {
    /// A fresh one.
    pub fn new(_: UpstreamSettings) -> Self {
        todo!()
    }
}
impl UpstreamSide for Pop3 {
    fn handle_input(&mut self, _: &[u8]) {
        todo!()
    }
    fn poll_event(&mut self) -> Option<UpstreamEvent> {
        todo!()
    }
    fn poll_output(&mut self) -> Option<Vec<u8>> {
        todo!()
    }
    fn tls_established(&mut self) {
        todo!()
    }
    fn handle_eof(&mut self) {
        todo!()
    }
}
