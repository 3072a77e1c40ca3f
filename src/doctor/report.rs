//! Tells the events, and counts the steps.

use std::pin::pin;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::interval;

use super::step::{Event, Section, Step, Summary};

/// How often it is told that work goes on. A reader gives up after two minutes of silence.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

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

    /// Does the work of a section, and tells at its beginning and every 15 s that it goes on.
    ///
    /// # Cancel safety
    /// That of `work`.
    pub(super) async fn working<T>(&self, section: Section, work: impl Future<Output = T>) -> T {
        self.tell(Event::Working { section }).await;
        let (mut work, mut ticks) = (pin!(work), interval(SIGN_OF_LIFE));
        ticks.tick().await;
        loop {
            select! {
                done = &mut work => return done,
                // A reader that is behind has other signs of life. The work must not wait for it.
                _ = ticks.tick() => drop(self.events.try_send(Event::Working { section })),
            }
        }
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

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn long_work_shows_signs_of_life_also_when_nobody_reads_them() {
        let (sender, mut events) = mpsc::channel(3);
        let report = Report::new(sender);
        let work = async {
            sleep(Duration::from_secs(200)).await;
            7
        };
        assert_eq!(report.working(Section::Entra, work).await, 7);
        drop(report);
        for _ in 0..3 {
            assert_eq!(events.recv().await, Some(Event::Working { section: Section::Entra }));
        }
        assert_eq!(events.recv().await, None);
    }
}
