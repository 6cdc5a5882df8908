//! Viewers as people see them: who they are, whether their keys are still good, and whom a name means. Pure; times are
//! passed in. Not here: what is done about it (`exchange`).
//!
//! A key that expires does so by the wall clock, for it outlives restarts. While nobody has set the clock, such a key
//! is good for nothing, and none can be made. It is removed once it has expired: a clock that is set back
//! does not bring it back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    keys::{ViewerRecord, date},
    message::Role,
    topic::KeyId,
};

/// The clock may be set at any time, and steps when it is: it is looked at again after this long at most.
const LONGEST_CHECK: Duration = Duration::from_secs(30);

/// A viewer, as `pinhole viewers` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// `k`, by which it can be revoked.
    pub key: String,
    pub name: String,
    pub role: Role,
    /// Seconds since 1970; absent where the clock was not set.
    pub paired_at: Option<u64>,
    /// Seconds since it was last heard of; absent when it never was, or nobody knows.
    pub seen_ago_s: Option<u64>,
    /// Seconds since 1970; absent when it never expires.
    pub expires_at: Option<u64>,
    /// The cameras that it watches now.
    pub watching: Vec<String>,
    /// It is a WHEP client, and has a token instead of a key.
    #[serde(default)]
    pub whep: bool,
}

impl Person {
    /// What is saved of it.
    pub fn new(record: &ViewerRecord, since_epoch: Duration) -> Self {
        let seen_ago_s = record.seen_at.zip(date(since_epoch)).map(|(seen, now)| now.saturating_sub(seen));
        Self {
            key: record.id.to_string(),
            name: record.name.clone(),
            role: record.role,
            paired_at: record.paired_at,
            seen_ago_s,
            expires_at: record.expires_at,
            watching: Vec::new(),
            whep: record.token.is_some(),
        }
    }
}

/// Whether a key is still good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Good,
    Expired,
    /// It expires, and nobody knows what time it is.
    Unknown,
}

/// How a viewer stands at this time of the wall clock.
pub fn standing(record: &ViewerRecord, since_epoch: Duration) -> Standing {
    match (record.expires_at, date(since_epoch)) {
        (None, _) => Standing::Good,
        (Some(_), None) => Standing::Unknown,
        (Some(end), Some(now)) if now < end => Standing::Good,
        (Some(_), Some(_)) => Standing::Expired,
    }
}

/// Those whose keys are good.
pub fn good(viewers: &[ViewerRecord], since_epoch: Duration) -> Vec<ViewerRecord> {
    let good = |viewer: &&ViewerRecord| standing(viewer, since_epoch) == Standing::Good;
    viewers.iter().filter(good).cloned().collect()
}

/// After how long to look again how viewers stand. Never zero.
pub fn next_check(viewers: &[ViewerRecord], since_epoch: Duration) -> Duration {
    let left = |end: u64| Duration::from_secs(end).checked_sub(since_epoch).filter(|left| !left.is_zero());
    let ends = viewers.iter().filter_map(|viewer| viewer.expires_at).filter_map(left);
    ends.chain([LONGEST_CHECK]).min().unwrap_or(LONGEST_CHECK)
}

/// A key that expires cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "this device's clock is not set, and a key can only expire by it: set the clock, or leave out --expires"
)]
pub struct ClockNotSet;

/// When a key that is made now ends.
///
/// # Errors
/// When it should, and nobody has set the clock.
pub fn expiry(lifetime: Option<Duration>, since_epoch: Duration) -> Result<Option<u64>, ClockNotSet> {
    let Some(lifetime) = lifetime else { return Ok(None) };
    let now = date(since_epoch).ok_or(ClockNotSet)?;
    Ok(Some(now.saturating_add(lifetime.as_secs())))
}

/// Why nobody was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotRevoked {
    #[error("there is no viewer `{0}`: pinhole viewers lists all, with their keys")]
    Nobody(String),
    #[error("{} viewers are called `{name}`: name one by its key", .who.len())]
    Several { name: String, who: Vec<Person> },
    #[error("{name} is cut off, but will be let in again after a restart: {reason}")]
    NotSaved { name: String, reason: String },
}

/// The one who is meant by a key, or by a whole name. A key comes first: names are the viewers' own.
///
/// # Errors
/// When nobody is meant, or more than one.
pub fn find(people: Vec<Person>, who: &str) -> Result<Person, NotRevoked> {
    let is_key = KeyId::parse(who).is_some() && people.iter().any(|person| person.key == who);
    let meant = |person: &Person| if is_key { person.key == who } else { person.name == who };
    let mut meant: Vec<Person> = people.into_iter().filter(meant).collect();
    match meant.pop() {
        None => Err(NotRevoked::Nobody(who.to_owned())),
        Some(person) if meant.is_empty() => Ok(person),
        Some(last) => {
            meant.push(last);
            Err(NotRevoked::Several { name: who.to_owned(), who: meant })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::envelope::ViewerKey;

    const TODAY: Duration = Duration::from_secs(1_790_000_000);
    const NOT_SET: Duration = Duration::from_secs(86_400);

    fn record(id: u8, expires_at: Option<u64>) -> ViewerRecord {
        let (id, key) = (KeyId::from_bytes([id; 8]), ViewerKey::from_bytes([id; 32]));
        ViewerRecord { expires_at, ..ViewerRecord::new(id, key, Role::View, "Anna".into()) }
    }

    fn people(names: &[&str]) -> Vec<Person> {
        let named = |(id, name): (u8, &&str)| Person {
            name: (*name).to_owned(),
            ..Person::new(&record(id, None), TODAY)
        };
        (1..).zip(names).map(named).collect()
    }

    #[test]
    fn a_key_ends_at_its_time_and_not_before() {
        let end = TODAY.as_secs() + 60;
        let at = |seconds| standing(&record(1, Some(end)), TODAY + Duration::from_secs(seconds));
        assert_eq!(
            [at(0), at(59), at(60), at(1000)].map(|s| s == Standing::Good),
            [true, true, false, false]
        );
        assert_eq!(at(60), Standing::Expired);
        assert_eq!(standing(&record(1, None), TODAY), Standing::Good);
    }

    #[test]
    fn without_a_clock_nothing_that_expires_is_good_or_made() {
        assert_eq!(standing(&record(1, Some(TODAY.as_secs())), NOT_SET), Standing::Unknown);
        assert_eq!(standing(&record(1, None), NOT_SET), Standing::Good);
        let week = Duration::from_secs(7 * 86_400);
        assert_eq!(expiry(Some(week), NOT_SET), Err(ClockNotSet));
        assert_eq!(expiry(None, NOT_SET), Ok(None));
        assert_eq!(expiry(Some(week), TODAY), Ok(Some(TODAY.as_secs() + 7 * 86_400)));
    }

    #[test]
    fn the_next_end_is_not_missed_and_a_step_of_the_clock_is_noticed() {
        let end = |after| record(1, Some(TODAY.as_secs() + after));
        let at = TODAY + Duration::from_millis(250);
        assert_eq!(next_check(&[end(100), end(5), record(2, None)], at), Duration::from_millis(4750));
        assert_eq!(next_check(&[end(86_400)], at), LONGEST_CHECK);
        assert_eq!(next_check(&[end(0)], TODAY), LONGEST_CHECK, "an end that could not be saved");
    }

    #[test]
    fn a_name_means_one_viewer_or_is_asked_about() {
        let names = ["Anna", "Ben", "Anna"];
        assert_eq!(find(people(&names), "Ben").unwrap().key, "0202020202020202");
        assert!(matches!(find(people(&names), "anna"), Err(NotRevoked::Nobody(_))));
        let Err(NotRevoked::Several { who, .. }) = find(people(&names), "Anna") else { panic!() };
        assert_eq!(who, [people(&names)[0].clone(), people(&names)[2].clone()]);
        assert_eq!(find(people(&names), "0303030303030303").unwrap().name, "Anna");
    }

    #[test]
    fn nobody_hides_behind_the_key_of_another() {
        let found = find(people(&["0202020202020202", "Ben"]), "0202020202020202").unwrap();
        assert_eq!(found.name, "Ben");
        let alone = find(people(&["0909090909090909"]), "0909090909090909").unwrap();
        assert_eq!(alone.key, "0101010101010101");
    }

    #[test]
    fn when_it_was_seen_is_known_only_by_a_clock_that_is_set() {
        let record = ViewerRecord { seen_at: Some(TODAY.as_secs() - 90), ..record(1, None) };
        assert_eq!(Person::new(&record, TODAY).seen_ago_s, Some(90));
        assert_eq!(Person::new(&record, NOT_SET).seen_ago_s, None);
    }
}
