use super::*;

fn next(pattern: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(pattern, TimeZone::get(zone).unwrap()).unwrap();
    let mut at: Instant = after.parse().unwrap();
    let mut found = Vec::new();
    for _ in 0..count {
        at = schedule.next(at).unwrap().0;
        found.push(at.to_zoned(schedule.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %z").to_string());
    }
    found
}

#[test]
fn fields_mean_what_vixie_means() {
    let utc = |pattern, after| next(pattern, "UTC", after, 1).remove(0);
    assert_eq!(utc("*/15 * * * *", "2026-01-01T00:00:00Z"), "2026-01-01 00:15:00 +0000");
    assert_eq!(utc("*/10 * * * * *", "2026-01-01T00:00:05Z"), "2026-01-01 00:00:10 +0000");
    assert_eq!(utc("0 9 * * 0", "2026-01-01T00:00:00Z"), "2026-01-04 09:00:00 +0000");
    assert_eq!(utc("0 9 * * 7", "2026-01-01T00:00:00Z"), "2026-01-04 09:00:00 +0000");
    assert_eq!(utc("0 9 * * fri-sun", "2026-01-04T10:00:00Z"), "2026-01-09 09:00:00 +0000");
    assert_eq!(utc("0 0 13 * 5", "2026-01-01T00:00:00Z"), "2026-01-02 00:00:00 +0000", "13th or Friday");
    assert_eq!(utc("0 0 29 2 *", "2026-01-01T00:00:00Z"), "2028-02-29 00:00:00 +0000");
    let never = Schedule::parse("0 0 30 2 *", TimeZone::UTC).unwrap();
    assert_eq!(never.next("2026-01-01T00:00:00Z".parse().unwrap()), None);
    for bad in ["", "* * * *", "61 * * * *", "* * * * 8", "x * * * *", "* * * * fri-tue"] {
        assert_eq!(Schedule::parse(bad, TimeZone::UTC).err(), Some(BadPattern), "{bad}");
    }
}

#[test]
fn a_fixed_time_in_a_gap_fires_at_its_end() {
    assert_eq!(
        next("30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", 2),
        ["2026-03-08 03:00:00 -0400", "2026-03-09 02:30:00 -0400"]
    );
}

#[test]
fn a_fixed_time_in_a_fold_fires_once() {
    assert_eq!(
        next("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2),
        ["2026-11-01 01:30:00 -0400", "2026-11-02 01:30:00 -0500"]
    );
}

#[test]
fn every_hour_counts_each_hour_that_passes() {
    assert_eq!(
        next("0 * * * *", "America/New_York", "2026-11-01T04:30:00Z", 3),
        ["2026-11-01 01:00:00 -0400", "2026-11-01 01:00:00 -0500", "2026-11-01 02:00:00 -0500"]
    );
    assert_eq!(
        next("0 * * * *", "America/New_York", "2026-03-08T06:30:00Z", 1),
        ["2026-03-08 03:00:00 -0400"]
    );
    assert_eq!(
        next("0 */2 * * *", "Europe/Berlin", "2026-10-24T21:30:00Z", 4),
        [
            "2026-10-25 00:00:00 +0200",
            "2026-10-25 02:00:00 +0200",
            "2026-10-25 02:00:00 +0100",
            "2026-10-25 04:00:00 +0100"
        ]
    );
    assert_eq!(
        next("0 */2 * * *", "Europe/Berlin", "2026-03-28T22:30:00Z", 2),
        ["2026-03-29 00:00:00 +0100", "2026-03-29 04:00:00 +0200"]
    );
    assert_eq!(
        next("*/30 * * * *", "Australia/Lord_Howe", "2026-04-04T14:00:00Z", 3),
        ["2026-04-05 01:30:00 +1100", "2026-04-05 01:30:00 +1030", "2026-04-05 02:00:00 +1030"]
    );
}

#[test]
fn a_preview_marks_gaps_and_folds() {
    let show = |pattern: &str, zone: &str, from: &str, count| {
        let fires = preview(pattern, zone, from.parse().unwrap(), count)?;
        Ok::<_, String>(fires.iter().map(|fire| serde_json::to_string(fire).unwrap()).collect::<Vec<_>>())
    };
    assert_eq!(
        show("30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", 2).unwrap(),
        [
            r#"{"at":"2026-03-08T07:00:00Z","local":"2026-03-08T03:00:00-04:00","mark":"gap"}"#,
            r#"{"at":"2026-03-09T06:30:00Z","local":"2026-03-09T02:30:00-04:00","mark":null}"#,
        ]
    );
    assert_eq!(
        show("30 * * * *", "America/New_York", "2026-11-01T05:00:00Z", 3).unwrap(),
        [
            r#"{"at":"2026-11-01T05:30:00Z","local":"2026-11-01T01:30:00-04:00","mark":"fold"}"#,
            r#"{"at":"2026-11-01T06:30:00Z","local":"2026-11-01T01:30:00-05:00","mark":"fold"}"#,
            r#"{"at":"2026-11-01T07:30:00Z","local":"2026-11-01T02:30:00-05:00","mark":null}"#,
        ]
    );
    assert_eq!(show("0 0 30 2 *", "UTC", "2026-01-01T00:00:00Z", 3).unwrap(), [] as [&str; 0]);
    assert!(show("x", "UTC", "2026-01-01T00:00:00Z", 1).unwrap_err().contains("`x` is no cron pattern"));
    assert!(show("* * * * *", "Mars/Base", "2026-01-01T00:00:00Z", 1).unwrap_err().contains("`Mars/Base`"));
    assert!(show("* * * * *", "UTC", "2026-01-01T00:00:00Z", 10_001).is_err());
}

mod zones;
