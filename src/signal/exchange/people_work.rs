//! What the exchange does about its viewers as people: lists them, revokes them, and ends those whose keys have expired.
//! Part of the exchange's task. Not here: which key has expired, and who is meant by a name (`signal::people`).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use super::{BTreeSet, ByeReason, Last, Role, SAVE_SEEN, ToSession, ToViewer, Work, clock, keys, people};
use crate::{
    peer::session::Phase,
    signal::{
        envelope::ViewerKey,
        keys::ViewerRecord,
        people::{NotRevoked, Person, Standing},
        topic::KeyId,
        whep::token::Token,
    },
};

impl Work {
    pub(super) fn people(&self) -> Vec<Person> {
        let (now, since_epoch) = (clock::now(), clock::since_epoch());
        let watching = self.watching.borrow();
        let person = |record| {
            let mut person = Person::new(record, since_epoch);
            if let Some(seen) = self.seen.get(&record.id) {
                person.seen_ago_s = Some(now.saturating_duration_since(*seen).as_secs());
            }
            let sessions = watching.iter().filter(|session| session.viewer == record.id);
            person.watching = sessions
                .filter(|session| session.phase == Phase::Connected)
                .map(|session| session.camera.clone())
                .collect();
            person
        };
        self.store.viewers().iter().map(person).collect()
    }

    /// Sessions that do not play yet.
    pub(super) fn connecting(&self) -> usize {
        self.watching.borrow().iter().filter(|session| session.phase == Phase::Unfinished).count()
    }

    /// A new WHEP client. It is a viewer like others, whose key nobody is told.
    pub(super) fn make_token(
        &mut self,
        role: Role,
        name: String,
        lifetime: Option<Duration>,
    ) -> Result<Token, String> {
        let expires_at = people::expiry(lifetime, clock::since_epoch()).map_err(|error| error.to_string())?;
        let (mut id, mut key) = ([0; 8], [0; 32]);
        keys::random(&mut id);
        keys::random(&mut key);
        let token = Token::new();
        let record = ViewerRecord::new(KeyId::from_bytes(id), ViewerKey::from_bytes(key), role, name);
        let record = ViewerRecord { expires_at, token: Some(token.hash()), ..record };
        self.save_viewer(record.clone())?;
        info!(viewer = %record.id, ?role, name = record.name, "a WHEP client was given a token");
        self.desk.let_in(clock::now(), record);
        self.check_at = clock::now();
        self.tell_tokens();
        Ok(token)
    }

    /// Tells the doors whose tokens are good.
    pub(super) fn tell_tokens(&self) {
        let let_in = self.store.viewers().iter().filter(|record| self.desk.has(record.id));
        let tokens = let_in.filter_map(|record| Some((record.token?, record.id))).collect();
        self.tokens.send_if_modified(|known| {
            let changed = *known != tokens;
            *known = tokens;
            changed
        });
    }

    pub(super) fn revoke(&mut self, who: &str) -> Result<Person, NotRevoked> {
        let person = people::find(self.people(), who)?;
        let key = KeyId::parse(&person.key).expect("it was written from a key");
        self.remove(key).map_err(|reason| NotRevoked::NotSaved { name: person.name.clone(), reason })?;
        info!(viewer = %key, name = person.name, "a viewer was revoked");
        Ok(person)
    }

    /// Cuts a viewer off, and then forgets it: a disk that is full does not keep it in.
    fn remove(&mut self, key: KeyId) -> Result<(), String> {
        let sealed = self.desk.revoke(key);
        self.tell_tokens();
        for session in sealed.into_iter().chain(self.routes.direct_of(key)) {
            let message = ToViewer::Bye { reason: ByeReason::Revoked };
            self.send(ToSession { session, message, last: Last::Yes });
        }
        if let Some(peers) = &self.peers {
            peers.revoke(key);
        }
        self.seen.remove(&key);
        self.withheld.remove(&key);
        let removed = tokio::task::block_in_place(|| self.store.remove(key));
        removed.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Ends keys whose time is over, and lets those in that had to wait for the clock.
    pub(super) fn check(&mut self, now: Instant) {
        let since_epoch = clock::since_epoch();
        for record in self.store.viewers().to_vec() {
            let (key, name) = (record.id, record.name.clone());
            match people::standing(&record, since_epoch) {
                Standing::Good => {
                    if self.withheld.remove(&key) {
                        info!(viewer = %key, name, "the clock is set: the viewer is let in again");
                        self.desk.let_in(now, record);
                        self.tell_tokens();
                    }
                }
                Standing::Expired => match self.remove(key) {
                    Ok(()) => info!(viewer = %key, name, "a viewer's key has expired"),
                    Err(reason) => error!(viewer = %key, name, "an expired key is still saved: {reason}"),
                },
                // Whoever was let in stays so: a clock is set back by the machine's owner alone.
                Standing::Unknown => {}
            }
        }
        self.check_at = now + people::next_check(self.store.viewers(), since_epoch);
        if self.save_at <= now {
            self.save_seen();
            self.save_at = now + SAVE_SEEN;
        }
    }

    /// Who watched until now, or does, is seen now.
    pub(super) fn note_present(&mut self) {
        let present: BTreeSet<KeyId> = self.watching.borrow().iter().map(|session| session.viewer).collect();
        let now = clock::now();
        let before = std::mem::replace(&mut self.present, present);
        self.seen.extend(before.iter().chain(&self.present).map(|viewer| (*viewer, now)));
    }

    pub(super) fn save_seen(&mut self) {
        let Some(today) = keys::date(clock::since_epoch()) else { return };
        self.note_present();
        let viewers: BTreeSet<KeyId> = self.store.viewers().iter().map(|viewer| viewer.id).collect();
        self.seen.retain(|key, _| viewers.contains(key));
        let now = clock::now();
        let ago = |seen: &Instant| now.saturating_duration_since(*seen);
        let date = |seen: &Instant| Duration::from_secs(today).saturating_sub(ago(seen)).as_secs();
        let seen: BTreeMap<KeyId, u64> =
            self.seen.iter().map(|(viewer, seen)| (*viewer, date(seen))).collect();
        if let Err(error) = tokio::task::block_in_place(|| self.store.note_seen(&seen)) {
            warn!("when viewers were last seen could not be saved: {error}");
        }
    }
}
