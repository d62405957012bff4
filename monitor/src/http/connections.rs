//! The places of all connections, to port and control socket, and the bytes under way to them: one bound for all. Nobody
//! waits for a place or for room. Where there is none, it is made: of the source that holds most, what it has held
//! longest or what is largest is cut off. So whoever takes everything takes it from himself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::roles::Role;

/// What a connection has a place in. Health and scrapes have places and bytes of their own, so that whoever holds all
/// others keeps nobody from being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// On the port, until it is known what is asked for, and for everything but this:
    Port,
    /// Health and scrapes.
    Scrape,
    /// On the control socket.
    Control,
    /// On the control socket by somebody without a role, who is only told so.
    Refused,
}

impl Pool {
    /// Connections at once.
    pub const fn places(self) -> usize {
        match self {
            Self::Port | Self::Control => 64,
            Self::Scrape => 16,
            Self::Refused => 8,
        }
    }

    /// Bytes under way at once, in this pool, or in all but scrapes together: 64 MiB in all.
    const fn bytes(self) -> usize {
        match self {
            Self::Scrape => 16 << 20,
            Self::Port | Self::Control | Self::Refused => 48 << 20,
        }
    }

    /// Whether they share their bytes.
    fn shares_with(self, other: Self) -> bool {
        (self == Self::Scrape) == (other == Self::Scrape)
    }
}

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Processes of this user.
    User(u32),
    /// The kernel does not say.
    Unknown,
}

/// All connections.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// The oldest first.
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    pool: Pool,
    source: Source,
    role: Option<Role>,
    bytes: usize,
    cut: CancellationToken,
}

impl Connections {
    fn held(&self) -> MutexGuard<'_, Held> {
        // A panic between two of its lines leaves at worst a number that is too large.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more.
    pub fn enter(&self, pool: Pool, source: Source, role: Option<Role>) -> Place {
        let mut held = self.held();
        held.make_place(pool);
        let (number, cut) = (held.next, CancellationToken::new());
        held.next += 1;
        held.connections.push(Connection { number, pool, source, role, bytes: 0, cut: cut.clone() });
        Place(Arc::new(Entry { all: self.clone(), number, cut }))
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.held().connections.iter().map(|one| one.bytes).sum()
    }
}

impl Held {
    /// Cuts off what is too much in a pool that is to have one more: the oldest of the source that has most there.
    fn make_place(&mut self, pool: Pool) {
        loop {
            let sources: Vec<Source> =
                self.connections.iter().filter(|one| one.pool == pool).map(|one| one.source).collect();
            if sources.len() < pool.places() {
                return;
            }
            let of = |source: Source| sources.iter().filter(|other| **other == source).count();
            // The last of equals is the one found, so the oldest is looked at last.
            let most = sources.iter().rev().copied().max_by_key(|source| of(*source));
            let victim = self.connections.iter().find(|one| one.pool == pool && Some(one.source) == most);
            let Some(victim) = victim.map(|victim| victim.number) else { return };
            self.cut(victim);
        }
    }

    /// It has no place any more.
    fn cut(&mut self, number: u64) {
        if let Some(at) = self.connections.iter().position(|one| one.number == number) {
            self.connections.remove(at).cut.cancel();
        }
    }

    /// Makes room for so many bytes of a connection, at the expense of nobody with a higher role. Whether there is.
    fn make_room(&mut self, number: u64, bytes: usize) -> bool {
        let Some(own) = self.connections.iter().find(|one| one.number == number) else { return false };
        let (pool, role) = (own.pool, own.role);
        let is_other = |one: &&Connection| one.number != number && one.pool.shares_with(pool);
        let stays = self.connections.iter().filter(is_other).filter(|one| one.role > role).map(|one| one.bytes);
        if stays.sum::<usize>() + bytes > pool.bytes() {
            return false;
        }
        loop {
            let others = || self.connections.iter().filter(is_other);
            if others().map(|one| one.bytes).sum::<usize>() + bytes <= pool.bytes() {
                return true;
            }
            let of = |source: Source| others().filter(|one| one.source == source).map(|one| one.bytes).sum::<usize>();
            let holders = others().filter(|one| one.bytes > 0 && one.role <= role);
            let victim = holders.min_by_key(|one| (one.role, usize::MAX - of(one.source), usize::MAX - one.bytes));
            let Some(victim) = victim.map(|victim| victim.number) else { return false };
            self.cut(victim);
        }
    }
}

/// A connection's place; given back with its last copy.
#[derive(Clone, Debug)]
pub struct Place(Arc<Entry>);

#[derive(Debug)]
struct Entry {
    all: Connections,
    number: u64,
    cut: CancellationToken,
}

impl Place {
    /// Ends when the connection has to.
    pub fn cut(&self) -> &CancellationToken {
        &self.0.cut
    }

    /// Has it go on in another pool, unless it has no role.
    pub fn move_to(&self, pool: Pool) {
        let mut held = self.0.all.held();
        let moves = |one: &Connection| one.number == self.0.number && one.pool != pool && one.role.is_some();
        if held.connections.iter().any(moves) {
            held.make_place(pool);
            held.connections.iter_mut().filter(|one| one.number == self.0.number).for_each(|one| one.pool = pool);
        }
    }

    /// Notes that so many bytes are under way to it. `false`: there is no room for them.
    #[must_use]
    pub fn hold(&self, bytes: usize) -> bool {
        let mut held = self.0.all.held();
        let room = held.make_room(self.0.number, bytes);
        if room {
            held.connections.iter_mut().filter(|one| one.number == self.0.number).for_each(|one| one.bytes = bytes);
        }
        room
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.held().connections.retain(|one| one.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn cut(places: &[Place]) -> Vec<usize> {
        places.iter().enumerate().filter(|(_, place)| place.cut().is_cancelled()).map(|(number, _)| number).collect()
    }

    #[test]
    fn whoever_has_most_places_gives_one_and_of_equals_the_oldest() {
        let connections = Connections::default();
        let enter = |user| connections.enter(Pool::Scrape, Source::User(user), Some(Role::Metrics));
        let mut places = vec![enter(7)];
        places.extend((1..16).map(|_| enter(8)));
        assert_eq!(cut(&places), [0_usize; 0]);
        // One that has but one place keeps it, though it is the oldest.
        places.push(enter(8));
        assert_eq!(cut(&places), [1]);
        places.push(enter(9));
        assert_eq!(cut(&places), [1, 2]);
        drop(places.split_off(2));
        places.extend((0..15).map(enter));
        assert_eq!(cut(&places), [1], "places were given back");
        // All have one but user 7, who has two.
        places.push(enter(100));
        assert_eq!(cut(&places), [0, 1]);
    }

    #[test]
    fn who_moves_to_another_pool_leaves_a_place_and_takes_one() {
        let connections = Connections::default();
        let enter = |pool| connections.enter(pool, Source::Unknown, Some(Role::Metrics));
        let scrapes: Vec<_> = (0..16).map(|_| enter(Pool::Scrape)).collect();
        let asking: Vec<_> = (0..64).map(|_| enter(Pool::Port)).collect();
        asking[63].move_to(Pool::Scrape);
        assert_eq!((cut(&scrapes), cut(&asking)), (vec![0], vec![]));
        asking[63].move_to(Pool::Scrape);
        assert_eq!(cut(&scrapes), [0], "it is there already");
        let _more = enter(Pool::Port);
        assert_eq!(cut(&asking), [0_usize; 0]);
        let _more = enter(Pool::Port);
        assert_eq!(cut(&asking), [0]);
    }

    #[test]
    fn room_is_made_by_who_holds_most_of_it_and_never_by_a_higher_role() {
        let connections = Connections::default();
        let port = |user| connections.enter(Pool::Port, Source::User(user), Some(Role::Metrics));
        let places = [port(1), port(2), port(2), port(3)];
        let security = connections.enter(Pool::Control, Source::User(9), Some(Role::Security));
        assert!(security.hold(20 * MIB));
        for (place, size) in places.iter().zip([10, 6, 7, 0]) {
            assert!(place.hold(size * MIB));
        }
        assert_eq!(connections.bytes(), 43 * MIB);
        assert!(places[3].hold(8 * MIB), "the larger of the two of user 2 makes room");
        assert_eq!((cut(&places), connections.bytes()), (vec![2], 44 * MIB));
        assert!(!places[3].hold(29 * MIB), "not at the expense of a higher role");
        assert!(!security.cut().is_cancelled());
        assert!(security.hold(48 * MIB));
        assert!(!security.hold(48 * MIB + 1));
        // Scrapes have room of their own.
        let scrape = connections.enter(Pool::Scrape, Source::User(1), Some(Role::Metrics));
        assert!(scrape.hold(MIB) && !security.cut().is_cancelled());
        drop((places, security, scrape));
        assert_eq!(connections.bytes(), 0);
    }
}
