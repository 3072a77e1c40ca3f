//! Tells the events, and counts the steps.

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::step::{Event, Section, Step, Summary};

/// Tells the events of one examination.
pub(super) struct Report {
    events: mpsc::Sender<Event>,
    summary: Mutex<Summary>,
}

impl Report {
    pub(super) fn new(events: mpsc::Sender<Event>) -> Self {
        Self { events, summary: Mutex::default() }
    }

    pub(super) async fn tell(&self, event: Event) {
        if let Event::Step(step) = &event {
            self.summary.lock().count(step);
        }
        // Without a listener the examination ends anyway.
        let _gone = self.events.send(event).await;
    }

    pub(super) async fn working(&self, section: Section) {
        self.tell(Event::Working { section }).await;
    }

    pub(super) async fn step(&self, step: Step) {
        self.tell(Event::Step(step)).await;
    }

    pub(super) async fn steps(&self, steps: impl IntoIterator<Item = Step>) {
        for step in steps {
            self.step(step).await;
        }
    }

    pub(super) async fn end(&self) {
        let summary = *self.summary.lock();
        self.tell(Event::End(summary)).await;
    }

    /// Completes when nobody listens any more.
    pub(super) async fn unheard(&self) {
        self.events.closed().await;
    }
}
