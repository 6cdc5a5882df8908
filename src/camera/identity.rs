//! Who a camera is, so that it is found again under another number, and not taken for another that has got its number.
//! Pure. Not here: asking the devices (`devices`), and remembering (`v4l2`).

use std::path::{Path, PathBuf};

/// What tells one camera from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The device's name for people.
    pub card: String,
    /// Where it is plugged in, as its driver says: `usb-0000:01:00.0-1.2`.
    pub bus: String,
    /// Which of the device's nodes this is.
    pub index: Option<u32>,
    /// The links in `/dev/v4l` that lead to it, those in `by-id` among them, whose names hold its serial number.
    pub links: Vec<PathBuf>,
}

/// A camera that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Its node: `/dev/video0`.
    pub path: PathBuf,
    pub identity: Identity,
}

/// How much speaks for two being the same, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    None,
    /// The model: the same camera in another socket, or another of its kind.
    Card,
    /// The model in the same socket.
    Socket,
    /// A link of its own.
    Link,
}

/// Where a camera is that was once at a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// There still, or again.
    Here,
    /// Elsewhere, under another number.
    Moved(&'a Present),
    /// Nowhere, and another is at its path.
    Replaced,
    /// Nowhere, and no other is at its path.
    Gone,
}

/// Looks for the camera that was at `path`, among those that are there now. Those that were there `beside` it are not it,
/// be they as like as can be.
pub fn place<'a>(path: &Path, was: &Identity, beside: &[Identity], present: &'a [Present]) -> Place<'a> {
    let like = |other: &Present| {
        let known = beside.iter().any(|known| likeness(known, &other.identity) >= Likeness::Socket);
        if known { Likeness::None } else { likeness(was, &other.identity) }
    };
    let here = present.iter().find(|other| other.path == path);
    let likeness_here = here.map_or(Likeness::None, like);
    let others = present.iter().filter(|other| other.path != path);
    let nearest = others.max_by_key(|other| like(other));
    let likeness_there = nearest.map_or(Likeness::None, like);
    let is_clear = present.iter().filter(|other| like(other) == likeness_there).count() == 1;
    match nearest {
        Some(other) if likeness_there > likeness_here && is_clear => Place::Moved(other),
        _ if likeness_here > Likeness::None => Place::Here,
        _ if here.is_some() => Place::Replaced,
        _ => Place::Gone,
    }
}

/// Why a name does not lead to a camera.
#[derive(Debug, PartialEq, Eq)]
pub enum Unclear {
    /// None has it.
    None,
    /// Several have it; how each is named so that it is meant alone.
    Several(Vec<String>),
}

/// The camera whose card has this name, in capitals or not; of several the one that was meant before.
pub fn by_card<'a>(
    name: &str,
    was: Option<&Identity>,
    present: &'a [Present],
) -> Result<&'a Present, Unclear> {
    let wanted = name.trim().to_lowercase();
    let named = present.iter().filter(|camera| camera.identity.card.to_lowercase() == wanted);
    let named: Vec<_> = named.collect();
    let as_before = |was: &Identity| {
        let mut same = named.iter().filter(|camera| likeness(was, &camera.identity) >= Likeness::Socket);
        same.next().copied()
    };
    match (&named[..], was.and_then(as_before)) {
        (_, Some(camera)) => Ok(camera),
        ([], None) => Err(Unclear::None),
        ([camera], None) => Ok(camera),
        (several, None) => Err(Unclear::Several(several.iter().map(|camera| own_name(camera)).collect())),
    }
}

/// A name that no other camera has: by its socket if the system knows it so, for a serial number may be missing.
fn own_name(camera: &Present) -> String {
    let links = &camera.identity.links;
    let link = links.iter().find(|link| is_in("by-path", link)).or(links.first());
    link.unwrap_or(&camera.path).display().to_string()
}

fn likeness(was: &Identity, is: &Identity) -> Likeness {
    let own = |identity: &Identity| {
        identity.links.iter().filter(|link| is_in("by-id", link)).cloned().collect::<Vec<_>>()
    };
    if was.card != is.card || was.index != is.index {
        Likeness::None
    } else if own(was).iter().any(|link| is.links.contains(link)) {
        Likeness::Link
    } else if !own(was).is_empty() && !own(is).is_empty() {
        // Of one model, with other serial numbers.
        Likeness::None
    } else if was.bus == is.bus {
        Likeness::Socket
    } else {
        Likeness::Card
    }
}

fn is_in(folder: &str, link: &Path) -> bool {
    link.parent().is_some_and(|parent| parent.ends_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(number: u32, card: &str, socket: &str, serial: Option<&str>) -> Present {
        let mut links = vec![PathBuf::from(format!("/dev/v4l/by-path/{socket}-video-index0"))];
        links.extend(serial.map(|serial| PathBuf::from(format!("/dev/v4l/by-id/usb-{serial}-video-index0"))));
        let identity = Identity { card: card.into(), bus: format!("usb-{socket}"), index: Some(0), links };
        Present { path: format!("/dev/video{number}").into(), identity }
    }

    /// Where the camera that was at /dev/video0 is now.
    fn now<'a>(was: &Present, present: &'a [Present]) -> Place<'a> {
        place(Path::new("/dev/video0"), &was.identity, &[], present)
    }

    #[test]
    fn a_camera_that_stayed_is_here() {
        let was = camera(0, "C920", "1.2", Some("A"));
        assert_eq!(now(&was, std::slice::from_ref(&was)), Place::Here);
        assert_eq!(now(&was, &[camera(0, "C920", "1.3", None)]), Place::Here, "in another socket");
        assert_eq!(now(&was, &[]), Place::Gone);
    }

    #[test]
    fn a_camera_that_came_back_under_another_number_is_found() {
        for (was, other) in [
            (camera(0, "C920", "1.2", Some("A")), camera(0, "Grabber", "1.1", None)),
            (camera(0, "C920", "1.2", Some("A")), camera(0, "C920", "1.1", Some("B"))),
            (camera(0, "C920", "1.2", None), camera(0, "C920", "1.1", None)),
        ] {
            let back = Present { path: "/dev/video2".into(), ..was.clone() };
            assert_eq!(now(&was, &[other.clone(), back.clone()]), Place::Moved(&back), "{other:?}");
            assert_eq!(now(&was, std::slice::from_ref(&back)), Place::Moved(&back));
        }
    }

    #[test]
    fn in_another_socket_it_is_found_by_its_serial_number_or_as_the_only_one_of_its_kind() {
        let was = camera(0, "C920", "1.2", Some("A"));
        let with_number = camera(2, "C920", "1.4", Some("A"));
        let twin = camera(1, "C920", "1.2", Some("B"));
        assert_eq!(now(&was, &[twin.clone(), with_number.clone()]), Place::Moved(&with_number));
        let (one, two) = (camera(1, "C920", "1.3", None), camera(2, "C920", "1.4", None));
        assert_eq!(now(&was, std::slice::from_ref(&one)), Place::Moved(&one));
        assert_eq!(now(&was, &[one, two]), Place::Gone, "nobody can tell which");
    }

    #[test]
    fn another_camera_at_its_path_is_not_it() {
        let was = camera(0, "C920", "1.2", Some("A"));
        assert_eq!(now(&was, &[camera(0, "Grabber", "1.2", None)]), Place::Replaced);
        let mut second_node = was.clone();
        second_node.identity.index = Some(2);
        assert_eq!(now(&was, &[second_node]), Place::Replaced, "another node of the same camera");
    }

    #[test]
    fn two_that_swap_their_numbers_are_both_found() {
        let (one, two) = (camera(0, "C920", "1.1", None), camera(1, "C920", "1.2", None));
        let swapped = [
            Present { path: "/dev/video1".into(), ..one.clone() },
            Present { path: "/dev/video0".into(), ..two.clone() },
        ];
        assert_eq!(place(Path::new("/dev/video0"), &one.identity, &[], &swapped), Place::Moved(&swapped[0]));
        assert_eq!(place(Path::new("/dev/video1"), &two.identity, &[], &swapped), Place::Moved(&swapped[1]));
    }

    #[test]
    fn a_twin_that_was_there_beside_it_is_not_it() {
        let (was, twin) = (camera(0, "C920", "1.1", None), camera(1, "C920", "1.2", None));
        let beside = [twin.identity.clone()];
        let at = |present| place(Path::new("/dev/video0"), &was.identity, &beside, present);
        assert_eq!(at(std::slice::from_ref(&twin)), Place::Gone);
        let in_its_place = Present { path: "/dev/video0".into(), ..twin.clone() };
        assert_eq!(at(std::slice::from_ref(&in_its_place)), Place::Replaced);
        let elsewhere = camera(2, "C920", "1.3", None);
        let both = [twin.clone(), elsewhere.clone()];
        assert_eq!(at(&both), Place::Moved(&elsewhere));
    }

    #[test]
    fn a_card_is_found_by_its_whole_name() {
        let present = [camera(0, "Grabber", "1.1", None), camera(2, "HD Pro Webcam C920", "1.2", None)];
        assert_eq!(by_card("hd pro webcam c920", None, &present), Ok(&present[1]));
        assert_eq!(by_card("C920", None, &present), Err(Unclear::None));
    }

    #[test]
    fn of_several_cards_of_that_name_the_one_meant_before_is_taken() {
        let mut present = [camera(0, "C920", "1.1", None), camera(2, "C920", "1.2", None)];
        present[1].identity.links.clear();
        let names = vec!["/dev/v4l/by-path/1.1-video-index0".to_owned(), "/dev/video2".to_owned()];
        assert_eq!(by_card("C920", None, &present), Err(Unclear::Several(names)));
        let was = camera(7, "C920", "1.2", None);
        assert_eq!(by_card("C920", Some(&was.identity), &present), Ok(&present[1]));
        let elsewhere = camera(7, "C920", "1.9", None);
        assert!(by_card("C920", Some(&elsewhere.identity), &present).is_err());
    }
}
