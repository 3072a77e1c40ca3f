//! How long waits are, and what ends them.

use super::*;
use crate::session::submission::queue::mailbox::{FIRST_WAIT, LONGEST_WAIT};

#[test]
fn a_change_ends_all_pauses() {
    let mut test = Test::new();
    test.add(1, "anna", "printer");
    test.add(2, "bert", "printer");
    for (task, end) in test.all().into_iter().zip([End::Paused(1_800 * SECOND), End::Aside(1_800 * SECOND)]) {
        test.done(task, end);
    }
    assert_eq!(test.take(), None);
    test.lanes.resume(test.now);
    let mut resumed = Test::ids(&test.all());
    resumed.sort_unstable();
    assert_eq!(resumed, [1, 2]);
}

#[test]
fn waits_double_up_to_half_an_hour_and_differ() {
    let waits: Vec<u64> = (1..=9).map(|failures| back_off(failures, 0).as_secs()).collect();
    assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1_800, 1_800, 1_800]);
    assert_eq!(back_off(u32::MAX, 0), LONGEST_WAIT);
    for random in [1, 7_499, 7_500, u64::MAX] {
        let wait = back_off(1, random);
        assert!(wait >= FIRST_WAIT && wait < FIRST_WAIT * 5 / 4, "{wait:?}");
    }
    assert_eq!(back_off(1, 7_499), FIRST_WAIT + Duration::from_millis(7_499));
}

#[test]
fn a_person_hastens_one_message_and_not_another_of_its_mailbox() {
    let mut test = Test::new();
    for id in 1..=3 {
        test.add_due(id, "anna", "printer", test.now + 600 * SECOND);
    }
    test.lanes.hasten(&name("anna"), QueueId(2), test.now);
    assert_eq!(Test::ids(&test.all()), [2]);
}

#[test]
fn neither_a_reload_nor_a_person_shortens_a_wait_that_microsoft_asked_for() {
    let mut test = Test::new();
    test.add(1, "anna", "printer");
    test.add(2, "bert", "printer");
    for task in test.all() {
        if task.mailbox == name("anna") {
            test.lanes.hold(&task.mailbox, test.now + 600 * SECOND);
        }
        test.done(task, End::Paused(600 * SECOND));
    }
    test.now += SECOND;
    test.lanes.resume(test.now);
    assert_eq!(Test::ids(&test.all()), [2], "only the back-off ends");
    test.lanes.hasten(&name("anna"), QueueId(1), test.now);
    assert_eq!((test.take(), test.lanes.next()), (None, Some(test.now + 599 * SECOND)));
    test.now += 599 * SECOND;
    assert_eq!(test.take().unwrap().id.0, 1);
}
