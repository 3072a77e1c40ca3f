use super::super::mailbox::MINUTE;
use super::*;

mod waits;

const SECOND: Duration = Duration::from_secs(1);

/// Lanes with a time that only goes on when the test says so.
struct Test {
    lanes: Lanes,
    now: Instant,
}

impl Test {
    fn new() -> Self {
        Self { lanes: Lanes::new(30), now: Instant::now() }
    }

    /// Adds a message of `mailbox` from `device`, accepted at the second of its number.
    fn add(&mut self, id: u64, mailbox: &str, device: &str) {
        self.add_due(id, mailbox, device, self.now);
    }

    fn add_due(&mut self, id: u64, mailbox: &str, device: &str, due: Instant) {
        let entry = Entry { id: QueueId(id), mailbox: name(mailbox), device: device.into(), accepted: UnixTime(id) };
        self.lanes.add(entry, due, self.now);
    }

    fn take(&mut self) -> Option<Task> {
        self.lanes.take(self.now)
    }

    /// Takes everything that can be taken at once.
    fn all(&mut self) -> Vec<Task> {
        std::iter::from_fn(|| self.take()).collect()
    }

    fn ids(tasks: &[Task]) -> Vec<u64> {
        tasks.iter().map(|task| task.id.0).collect()
    }

    fn done(&mut self, task: Task, end: End) {
        self.lanes.done(task, end, self.now);
    }

    /// Sends everything for so many seconds. Returns the ids with the second in which each was sent.
    fn send_for(&mut self, seconds: u64) -> Vec<(u64, u64)> {
        let mut sent = Vec::new();
        for second in 0..seconds {
            while let Some(task) = self.take() {
                sent.push((second, task.id.0));
                self.done(task, End::Over);
            }
            self.now += SECOND;
        }
        sent
    }
}

fn name(local: &str) -> MailAddress {
    MailAddress::parse(&format!("{local}@contoso.com")).unwrap()
}

#[test]
fn the_messages_of_a_device_go_one_at_a_time_and_in_order() {
    let mut test = Test::new();
    for id in [3, 1, 2] {
        test.add(id, "anna", "printer");
    }
    for id in [1, 2, 3] {
        let mut tasks = test.all();
        assert_eq!(Test::ids(&tasks), [id]);
        test.done(tasks.remove(0), End::Over);
        assert!(!test.lanes.has(QueueId(id)));
    }
    assert_eq!(test.take(), None);
}

#[test]
fn a_known_message_is_not_added_twice() {
    let mut test = Test::new();
    test.add(1, "anna", "printer");
    test.add(1, "anna", "printer");
    let task = test.take().unwrap();
    test.add(1, "anna", "printer");
    test.done(task, End::Over);
    assert_eq!(test.take(), None);
}

#[test]
fn devices_of_one_mailbox_send_beside_each_other_as_far_as_it_has_connections() {
    let mut test = Test::new();
    for id in 1..=5 {
        test.add(id, "anna", &format!("printer {id}"));
    }
    let mut tasks = test.all();
    assert_eq!(Test::ids(&tasks), [1, 2, 3]);
    test.done(tasks.remove(1), End::Over);
    assert_eq!(Test::ids(&test.all()), [4]);
}

#[test]
fn a_mailbox_that_cannot_send_is_tested_by_one_message_and_holds_up_no_other() {
    let mut test = Test::new();
    for id in 1..=6 {
        test.add(id, "anna", if id % 2 == 0 { "printer" } else { "scanner" });
    }
    test.add(7, "bert", "printer");
    let tasks = test.all();
    assert_eq!(Test::ids(&tasks), [1, 7, 2]);
    for task in tasks {
        let end = if task.mailbox == name("anna") { End::Paused(30 * SECOND) } else { End::Over };
        test.done(task, end);
    }
    assert_eq!((test.take(), test.lanes.faults(&name("anna"))), (None, 2));
    assert_eq!(test.lanes.next(), Some(test.now + 30 * SECOND));
    test.now += 29 * SECOND;
    test.add(8, "bert", "printer");
    assert_eq!(test.take().unwrap().id.0, 8);
    assert_eq!(test.take(), None);
    test.now += SECOND;
    let mut tasks = test.all();
    assert_eq!(Test::ids(&tasks), [1], "one of two devices tests it, with its first message");
    test.done(tasks.remove(0), End::Paused(60 * SECOND));
    test.now += 60 * SECOND;
    let mut tasks = test.all();
    test.done(tasks.remove(0), End::Over);
    assert_eq!(Test::ids(&test.all()), [2, 3], "both send again");
    assert_eq!(test.lanes.faults(&name("anna")), 0);
}

#[test]
fn a_message_that_is_refused_for_a_while_is_set_aside_and_the_next_one_goes() {
    let mut test = Test::new();
    for id in 1..=3 {
        test.add(id, "anna", "printer");
    }
    let first = test.take().unwrap();
    test.done(first, End::Aside(30 * SECOND));
    let second = test.take().unwrap();
    assert_eq!(second.id.0, 2);
    test.done(second, End::Over);
    let third = test.take().unwrap();
    test.done(third, End::Over);
    assert_eq!(test.take(), None);
    test.now += 30 * SECOND;
    let again = test.take().unwrap();
    assert_eq!((again.id.0, &again.step), (1, &Step::Send(None, UnixTime(1))));
    test.done(again, End::Over);
    assert_eq!(test.take(), None);
}

#[test]
fn messages_set_aside_and_new_ones_take_turns() {
    let mut test = Test::new();
    for id in 1..=100 {
        test.add_due(id, "anna", "printer", test.now + SECOND);
    }
    for id in 101..=110 {
        test.add(id, "anna", "printer");
    }
    test.now += SECOND;
    let sent: Vec<u64> = test.send_for(1).into_iter().map(|(_, id)| id).collect();
    assert_eq!(sent.len(), 30);
    let new: Vec<u64> = sent.iter().copied().filter(|id| *id > 100).collect();
    assert_eq!(new, (101..=110).collect::<Vec<_>>(), "{sent:?}");
}

#[test]
fn no_minute_has_more_than_thirty_and_the_oldest_of_many_waits_no_longer_than_that() {
    let mut test = Test::new();
    for id in 1..=120 {
        test.add(id, "anna", "printer");
    }
    test.add(121, "bert", "printer");
    let sent = test.send_for(240);
    assert_eq!(sent.iter().find(|(_, id)| *id == 121).unwrap().0, 0, "another mailbox does not wait");
    let of_anna: Vec<(u64, u64)> = sent.into_iter().filter(|(_, id)| *id <= 120).collect();
    assert_eq!(of_anna.iter().map(|(_, id)| *id).collect::<Vec<_>>(), (1..=120).collect::<Vec<_>>());
    let at: Vec<u64> = of_anna.iter().map(|(second, _)| *second).collect();
    assert!(at.windows(31).all(|some| some[30] - some[0] >= 60), "{at:?}");
    assert_eq!(at.last(), Some(&180));
    // It is forgotten when its minute is over.
    test.now += MINUTE;
    assert_eq!(test.take(), None);
    assert!(test.lanes.mailboxes.is_empty() && test.lanes.agenda.is_empty() && test.lanes.known.is_empty());
}

#[test]
fn slow_mailboxes_take_one_connection_each_and_never_all_places() {
    let mut test = Test::new();
    for id in 0..3_000 {
        test.add(id, &format!("slow{}", id / 10), &format!("printer {id}"));
    }
    // Nobody knows yet that they are slow.
    let first = test.all();
    assert_eq!(first.len(), SENDS);
    assert!(test.lanes.next().is_none(), "there is no place until an attempt ends");
    test.now += 60 * SECOND;
    for task in first {
        test.done(task, End::Over);
    }
    for round in 0..16 {
        let tasks = test.all();
        // By then, each of them has been slow once.
        let is_known = round >= 10;
        if is_known {
            test.add(10_000 + round, "quick", "scanner");
        }
        let quick = test.all();
        assert_eq!(Test::ids(&quick), Vec::from_iter(is_known.then_some(10_000 + round)), "round {round}");
        quick.into_iter().for_each(|task| test.done(task, End::Over));
        let of_slow = tasks.iter().filter(|task| test.lanes.slow.contains(&task.id)).count();
        assert!(of_slow <= SLOW_SENDS, "{of_slow}");
        test.now += 60 * SECOND;
        tasks.into_iter().for_each(|task| test.done(task, End::Over));
    }
    for _ in 0..100 {
        test.now += 60 * SECOND;
        test.all().into_iter().for_each(|task| test.done(task, End::Over));
    }
    assert!(test.lanes.known.is_empty() && test.lanes.held.is_empty(), "every slow one had its turn");
}

#[test]
fn a_mailbox_that_is_slow_no_longer_uses_all_of_its_connections_again() {
    let mut test = Test::new();
    for id in 1..=9 {
        test.add(id, "anna", &format!("printer {id}"));
    }
    let mut tasks = test.all();
    assert_eq!(Test::ids(&tasks), [1, 2, 3]);
    test.now += 25 * SECOND;
    test.done(tasks.remove(0), End::Over);
    assert_eq!(test.take(), None, "the others take as long");
    tasks.into_iter().for_each(|task| test.done(task, End::Over));
    let mut tasks = test.all();
    assert_eq!(Test::ids(&tasks), [4]);
    test.now += SECOND;
    test.done(tasks.remove(0), End::Over);
    assert_eq!(Test::ids(&test.all()), [5, 6, 7]);
}

#[test]
fn looks_have_places_of_their_own() {
    let mut test = Test::new();
    for id in 1..=6 {
        test.lanes.add_look(QueueId(id), name("anna"), test.now);
    }
    test.add(7, "anna", "printer");
    let mut tasks = test.all();
    assert_eq!(Test::ids(&tasks), [1, 2, 3, 4, 7]);
    assert_eq!(test.lanes.next(), None);
    test.done(tasks.remove(0), End::Over);
    assert_eq!(Test::ids(&test.all()), [5]);
}

#[test]
fn what_left_before_a_restart_counts_for_its_minute() {
    let mut test = Test::new();
    test.lanes.adjust(3);
    for before in [50, 10] {
        test.lanes.note_left(name("anna"), test.now - before * SECOND, test.now);
    }
    for id in 1..=6 {
        test.add(id, "anna", "printer");
    }
    test.add(7, "bert", "printer");
    let at: Vec<u64> = test.send_for(120).into_iter().filter(|(_, id)| *id < 7).map(|(second, _)| second).collect();
    assert_eq!(at, [0, 10, 50, 60, 70, 110]);
    test.now += MINUTE;
    assert_eq!(test.take(), None);
    assert!(test.lanes.mailboxes.is_empty() && test.lanes.agenda.is_empty());
}

#[test]
fn messages_under_way_count_until_a_minute_after_their_end() {
    let mut test = Test::new();
    test.lanes.adjust(2);
    for id in 1..=4 {
        test.add(id, "anna", &format!("printer {id}"));
    }
    let mut tasks = test.all();
    assert_eq!(Test::ids(&tasks), [1, 2]);
    // Exchange may count them at any time until then.
    test.now += 50 * SECOND;
    test.done(tasks.remove(0), End::Over);
    test.done(tasks.remove(0), End::Gone);
    let mut tasks = test.all();
    assert_eq!(Test::ids(&tasks), [3], "one was never seen by Exchange");
    test.done(tasks.remove(0), End::Over);
    test.now += 59 * SECOND;
    assert_eq!(test.take(), None);
    test.now += SECOND;
    assert_eq!(Test::ids(&test.all()), [4]);
}

#[test]
fn mailboxes_have_their_turns_one_after_another() {
    let mut test = Test::new();
    for id in 0..40 {
        test.add(id, ["anna", "bert", "carl", "dora"][id as usize % 4], &format!("printer {}", id / 4));
    }
    // One message at a time is sent in all.
    let mut order = Vec::new();
    while let Some(task) = test.take() {
        order.push(task.mailbox.clone());
        test.done(task, End::Over);
    }
    for four in order.chunks(4) {
        assert_eq!(four.iter().collect::<HashSet<_>>().len(), 4, "{order:?}");
    }
    assert_eq!(order.len(), 40);
}

#[test]
fn what_nobody_can_tell_is_looked_for_and_holds_up_nothing() {
    let mut test = Test::new();
    test.add(1, "anna", "printer");
    test.add(2, "anna", "printer");
    let first = test.take().unwrap();
    test.done(first, End::Look(60 * SECOND));
    assert!(test.lanes.has(QueueId(1)));
    assert_eq!(test.take(), None, "the next one does not end the same way at once");
    test.now += back_off(1, 1);
    let second = test.take().unwrap();
    assert_eq!(second.id.0, 2);
    test.done(second, End::Over);
    test.lanes.add_look(QueueId(9), name("bert"), test.now);
    let left = test.take().unwrap();
    assert_eq!((left.id.0, &left.step), (9, &Step::Look(0)));
    test.done(left, End::Over);
    test.now += 60 * SECOND;
    let look = test.take().unwrap();
    assert_eq!((look.id.0, &look.step, &look.mailbox), (1, &Step::Look(0), &name("anna")));
    test.done(look, End::Look(300 * SECOND));
    assert_eq!(test.take(), None);
    test.now += 300 * SECOND;
    let look = test.take().unwrap();
    assert_eq!(look.step, Step::Look(1));
    test.done(look, End::Over);
    assert!(!test.lanes.has(QueueId(1)));
}

#[test]
fn a_message_that_a_person_wants_sent_is_looked_for_no_longer() {
    let mut test = Test::new();
    test.lanes.add_look(QueueId(1), name("anna"), test.now + 60 * SECOND);
    assert!(test.lanes.is_looked_for(QueueId(1)));
    test.lanes.drop_look(QueueId(1));
    test.add(1, "anna", "printer");
    let sent = test.take().unwrap();
    assert!(matches!(sent.step, Step::Send(..)));
    test.done(sent, End::Over);
    test.now += 60 * SECOND;
    assert_eq!(test.take(), None);
}

#[test]
fn a_look_that_could_not_begin_is_repeated_and_does_not_count() {
    let mut test = Test::new();
    test.lanes.add_look(QueueId(1), name("anna"), test.now);
    let look = test.take().unwrap();
    test.done(look, End::Postponed(10 * SECOND));
    assert_eq!(test.take(), None);
    test.now += 10 * SECOND;
    assert_eq!(test.take().unwrap().step, Step::Look(0));
}

#[test]
fn what_gatepost_itself_could_not_try_is_no_fault_of_the_mailbox() {
    let mut test = Test::new();
    for id in 1..=4 {
        test.add(id, "anna", &format!("printer {id}"));
    }
    for _ in 0..5 {
        for task in test.all() {
            test.done(task, End::Postponed(10 * SECOND));
        }
        assert_eq!((test.take(), test.lanes.faults(&name("anna"))), (None, 0));
        test.now += 10 * SECOND;
    }
    assert_eq!(Test::ids(&test.all()), [1, 2, 3], "all of its connections are used, in its order");
}

#[test]
fn a_message_that_breaks_every_connection_does_not_hold_up_its_mailbox() {
    let mut test = Test::new();
    for id in 1..=3 {
        test.add(id, "anna", "printer");
    }
    test.add(4, "anna", "scanner");
    let mut sent = Vec::new();
    for _ in 0..300 {
        while let Some(task) = test.take() {
            let end = if task.id.0 == 1 { End::Broke(30 * SECOND) } else { End::Over };
            if end == End::Over {
                sent.push(task.id.0);
            }
            test.done(task, end);
        }
        test.now += SECOND;
    }
    assert!([2, 3, 4].iter().all(|id| sent.contains(id)), "{sent:?}");
    assert_eq!(test.lanes.faults(&name("anna")), 0);
    assert!(test.lanes.has(QueueId(1)));
}

#[test]
fn a_long_fault_of_the_mailbox_leaves_the_order_as_it_is() {
    let mut test = Test::new();
    for id in 1..=9 {
        test.add(id, "anna", "printer");
    }
    // Until several in a row were tried.
    for _ in 0..6 {
        let task = test.take().unwrap();
        test.done(task, End::Broke(30 * SECOND));
        assert_eq!(test.take(), None);
        test.now += 30 * SECOND;
    }
    let sent: Vec<u64> = test.send_for(1).into_iter().map(|(_, id)| id).collect();
    assert_eq!(sent, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn an_outage_of_any_length_leaves_the_order_as_it_is() {
    for tries in 1..=12 {
        let mut test = Test::new();
        for id in 1..=5 {
            test.add(id, "anna", "printer");
        }
        for _ in 0..tries {
            let task = test.take().unwrap();
            assert_eq!(task.id.0, 1, "the first one tests the mailbox");
            test.done(task, End::Paused(30 * SECOND));
            test.now += 30 * SECOND;
        }
        let sent: Vec<u64> = test.send_for(1).into_iter().map(|(_, id)| id).collect();
        assert_eq!(sent, [1, 2, 3, 4, 5], "after {tries} tries");
    }
}

#[test]
fn ends_that_nobody_can_tell_slow_the_mailbox_down_until_one_is_confirmed() {
    let mut test = Test::new();
    for id in 1..=100 {
        test.add(id, "anna", &format!("printer {id}"));
    }
    let mut tried = 0;
    for _ in 0..600 {
        while let Some(task) = test.take() {
            if let Step::Send(..) = task.step {
                tried += 1;
            }
            let end = if tried == 3 { End::Refused } else { End::Lost };
            test.done(task, end);
        }
        test.now += SECOND;
    }
    assert!(tried <= 8, "{tried}");
}

#[test]
fn what_waited_too_long_leaves_its_lanes() {
    let mut test = Test::new();
    for id in 1..=6 {
        test.add(id, "anna", if id % 2 == 0 { "printer" } else { "scanner" });
    }
    let busy = test.take().unwrap();
    let mut expired = test.lanes.expired(&name("anna"), UnixTime(5), test.now);
    expired.sort();
    assert_eq!(expired, [2, 3, 4].map(QueueId));
    assert_eq!(test.lanes.expired(&name("nobody"), UnixTime(5), test.now), []);
    test.done(busy, End::Over);
    let mut left = Test::ids(&test.all());
    left.sort_unstable();
    assert_eq!(left, [5, 6]);
}

proptest::proptest! {
    /// Whatever happens: each message is over once, the order within a lane holds for messages that
    /// did not have to be tried again, and nothing is left in the end.
    #[test]
    fn every_message_comes_to_its_end(
        messages in proptest::collection::vec((0_u8..4, 0_u8..3), 1..60),
        ends in proptest::collection::vec((0_u8..6, 1_u64..100), 0..200),
    ) {
        let mut test = Test::new();
        test.lanes.adjust(7);
        let mut lane_of = HashMap::new();
        for (id, (mailbox, device)) in messages.iter().enumerate() {
            let id = id as u64 + 1;
            test.add(id, &format!("m{mailbox}"), &format!("d{device}"));
            lane_of.insert(id, (*mailbox, *device));
        }
        let mut ends = ends.into_iter();
        let mut paused = HashSet::new();
        let (mut over, mut under_way, mut last): (Vec<u64>, Vec<Task>, HashMap<_, u64>) = Default::default();
        for _ in 0..20_000 {
            under_way.extend(test.all());
            let Some(task) = under_way.pop() else {
                match test.lanes.next() {
                    Some(next) => test.now = test.now.max(next),
                    None => break,
                }
                continue;
            };
            let (kind, seconds) = ends.next().unwrap_or((0, 1));
            let end = match kind {
                0 | 1 => End::Over,
                2 => End::Gone,
                3 => End::Paused(Duration::from_secs(seconds)),
                4 => End::Aside(Duration::from_secs(seconds)),
                _ => End::Look(Duration::from_secs(seconds)),
            };
            let is_look = matches!(task.step, Step::Look(_));
            if let Step::Send(Some(_), _) = task.step && !paused.contains(&task.id) {
                let last = last.entry(lane_of[&task.id.0]).or_default();
                proptest::prop_assert!(*last <= task.id.0, "{} after {}", task.id, last);
                *last = task.id.0;
            }
            if let End::Paused(_) = end {
                paused.insert(task.id);
            }
            if matches!(end, End::Over | End::Gone) || is_look && !matches!(end, End::Look(_) | End::Paused(_)) {
                over.push(task.id.0);
            }
            test.done(task, end);
        }
        over.sort_unstable();
        proptest::prop_assert_eq!(over, (1..=messages.len() as u64).collect::<Vec<_>>());
        proptest::prop_assert!(test.lanes.known.is_empty() && test.lanes.looked_for.is_empty());
        proptest::prop_assert!(test.lanes.mailboxes.is_empty(), "{}", test.lanes.mailboxes.len());
    }
}

#[test]
fn a_mailbox_keeps_its_turn_when_more_of_it_arrives() {
    let mut test = Test::new();
    test.add(1, "anna", "printer");
    test.add(2, "bert", "printer");
    test.add(3, "anna", "scanner");
    assert_eq!(Test::ids(&test.all()), [1, 2, 3]);
}

#[test]
fn messages_set_aside_are_remembered_while_one_of_them_is_under_way() {
    let mut test = Test::new();
    test.lanes.adjust(1);
    for id in 1..=3 {
        test.add_due(id, "anna", "printer", test.now + SECOND);
    }
    test.now += SECOND;
    let sent: Vec<u64> = test.send_for(200).into_iter().map(|(_, id)| id).collect();
    assert_eq!(sent, [1, 2, 3]);
}

#[test]
fn a_message_that_breaks_every_connection_keeps_its_place_while_no_other_shows_where_the_fault_is() {
    let mut test = Test::new();
    test.add(1, "anna", "printer");
    for _ in 0..4 {
        let task = test.take().unwrap();
        assert_eq!(task.step, Step::Send(Some("printer".into()), UnixTime(1)), "it is not set aside");
        test.done(task, End::Broke(30 * SECOND));
        test.now += 30 * SECOND;
    }
    test.add(2, "anna", "printer");
    assert_eq!(Test::ids(&test.all()), [1]);
}
