//! What a device's name becomes on the local network: a host name, and the name of a service. Pure. Not here: what is done
//! when another device has the same (`announce`).

/// A label of DNS holds no more bytes (RFC 1035, section 2.3.4).
const LABEL: usize = 63;
/// Kept free for what is put behind a name that another device has: `-999` or ` (999)`.
const SUFFIX: usize = 6;
/// The beginning of each host name, and the whole where nothing of the device's name can be written in one.
const PREFIX: &str = "pinhole";

/// The first label of the host name, before `.local`: `pinhole-front-door` for `Front door`.
pub(super) fn host_label(name: &str) -> String {
    let mut plain = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        match spelled(c) {
            Some(letters) => plain.push_str(letters),
            None if c.is_ascii_alphanumeric() => plain.push(c),
            None => plain.push('-'),
        }
    }
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    let own = words.join("-");
    let label = match words.first() {
        None => PREFIX.to_owned(),
        Some(&first) if first == PREFIX => own,
        Some(_) => format!("{PREFIX}-{own}"),
    };
    cut(&label, LABEL - SUFFIX).trim_end_matches('-').to_owned()
}

/// The name of the service as people see it (RFC 6763, section 4.1.1): the device's, as far as a label holds it.
pub(super) fn instance(name: &str) -> String {
    // A dot parts labels, and a backslash escapes: both are allowed, but not every resolver gets them right.
    let plain = name.replace('.', " ").replace('\\', "/");
    let short = cut(plain.trim(), LABEL - SUFFIX).trim_end();
    if short.is_empty() { PREFIX.to_owned() } else { short.to_owned() }
}

/// Letters that are no ASCII, as people write them where there are none.
fn spelled(c: char) -> Option<&'static str> {
    match c {
        'ä' | 'æ' => Some("ae"),
        'ö' | 'ø' | 'œ' => Some("oe"),
        'ü' => Some("ue"),
        'ß' => Some("ss"),
        'à' | 'á' | 'â' | 'ã' | 'å' => Some("a"),
        'ç' => Some("c"),
        'è' | 'é' | 'ê' | 'ë' => Some("e"),
        'ì' | 'í' | 'î' | 'ï' => Some("i"),
        'ñ' => Some("n"),
        'ò' | 'ó' | 'ô' | 'õ' => Some("o"),
        'ù' | 'ú' | 'û' => Some("u"),
        'ý' | 'ÿ' => Some("y"),
        _ => None,
    }
}

/// The first bytes, at most so many, without a half character.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_host_name_that_can_be_typed() {
        for (name, host) in [
            ("Front door", "pinhole-front-door"),
            ("Küche", "pinhole-kueche"),
            ("Café À côté", "pinhole-cafe-a-cote"),
            ("  --Hof / 2--  ", "pinhole-hof-2"),
            ("raspberrypi", "pinhole-raspberrypi"),
            ("cam.example.org", "pinhole-cam-example-org"),
            ("STRASSE ẞ ß", "pinhole-strasse-ss-ss"),
            ("pinhole", "pinhole"),
            ("Pinhole Hof", "pinhole-hof"),
            ("pinholes", "pinhole-pinholes"),
            ("玄関", "pinhole"),
            ("", "pinhole"),
        ] {
            assert_eq!(host_label(name), host, "{name}");
        }
    }

    #[test]
    fn a_service_has_the_devices_name_without_what_resolvers_get_wrong() {
        for (name, service) in [
            ("Küche", "Küche"),
            ("Front door", "Front door"),
            ("v1.2 \\ x", "v1 2 / x"),
            (" ... ", "pinhole"),
        ] {
            assert_eq!(instance(name), service, "{name}");
        }
    }

    #[test]
    fn long_names_leave_room_in_a_label_for_a_number() {
        for name in ["a".repeat(64), "ü".repeat(64), "漢".repeat(64), format!("{}-bcdefgh", "a".repeat(48))]
        {
            let (host, service) = (host_label(&name), instance(&name));
            assert!(host.len() + "-999".len() <= LABEL && !host.ends_with('-'), "{host}");
            assert!(service.len() + " (999)".len() <= LABEL && !service.is_empty(), "{service}");
        }
    }
}
