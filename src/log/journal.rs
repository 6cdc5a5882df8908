//! The log's way into systemd's journal by its own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): each event with its
//! priority and its fields, so that `journalctl -p warning` and `journalctl PINHOLE_CAMERA=cam0` find it. The text says
//! all of it too, as people read it. Runs on whatever thread logs; a datagram is sent, and nothing waits for an answer.
//! Not here: what is logged, and the filter (`log`).

use std::{
    fmt::{self, Write as _},
    io,
    os::unix::net::UnixDatagram,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

const SOCKET: &str = "/run/systemd/journal/socket";
/// Bytes of a message at most: a datagram must hold it, whatever the system's limit for those is.
const MAX_MESSAGE: usize = 32 * 1024;
/// The journal knows no longer names (and none that begin with an underscore or a digit).
const MAX_NAME: usize = 64;
const PREFIX: &str = "PINHOLE_";

/// The journal, open for writing.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// # Errors
    /// When there is no journal, or it cannot be reached from here.
    pub fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        // A journal that is overrun must not stop the agent.
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }
}

/// What an event or a span says, in order.
#[derive(Debug, Clone, Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.others.push((field.name(), value));
        }
    }
}

impl<S> Layer<S> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.others.extend(outer.others.iter().cloned());
            }
        }
        let metadata = event.metadata();
        let entry = entry(*metadata.level(), metadata.target(), &fields);
        if self.socket.send(&entry).is_err() {
            // The service's standard error goes the same way, by a stream that waits.
            eprintln!("{}", text(&fields));
        }
    }
}

/// The message with its fields behind it, as people read it.
fn text(fields: &Fields) -> String {
    let mut text = fields.message.clone();
    for (name, value) in &fields.others {
        let separator = if text.is_empty() { "" } else { " " };
        write!(text, "{separator}{name}={value}").expect("a string takes all");
    }
    text.truncate(text.floor_char_boundary(MAX_MESSAGE));
    text
}

/// One entry: a field each, with its length where the value has a line end.
fn entry(level: Level, target: &str, fields: &Fields) -> Vec<u8> {
    let mut entry = Vec::with_capacity(512);
    put(&mut entry, "MESSAGE", &text(fields));
    put(&mut entry, "PRIORITY", priority(level));
    put(&mut entry, "SYSLOG_IDENTIFIER", "pinhole");
    put(&mut entry, "TARGET", target);
    for (name, value) in &fields.others {
        put(&mut entry, &journal_name(name), &value[..value.floor_char_boundary(MAX_MESSAGE)]);
    }
    entry
}

fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

/// Capital letters, digits and underscores.
fn journal_name(field: &str) -> String {
    let letters = field.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    PREFIX.chars().chain(letters).take(MAX_NAME).collect()
}

/// As syslog has them (RFC 5424, section 6.2.1).
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What comes out at the other end while `log` runs.
    fn entries(log: impl FnOnce()) -> Vec<String> {
        let (socket, journal) = UnixDatagram::pair().expect("sockets can be made");
        journal.set_nonblocking(true).expect("it is a socket");
        let subscriber = tracing_subscriber::registry().with(Journal { socket });
        tracing::subscriber::with_default(subscriber, log);
        let mut buffer = [0; 100_000];
        std::iter::from_fn(|| {
            journal.recv(&mut buffer).ok().map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned())
        })
        .collect()
    }

    #[test]
    fn an_event_has_its_priority_its_fields_and_a_text_with_all_of_it() {
        let seen = entries(|| tracing::warn!(camera = %"cam0", frames = 3, "frames are lost"));
        let lines: Vec<&str> = seen[0].lines().collect();
        assert_eq!(lines[0], "MESSAGE=frames are lost camera=cam0 frames=3");
        for line in ["PRIORITY=4", "SYSLOG_IDENTIFIER=pinhole", "PINHOLE_CAMERA=cam0", "PINHOLE_FRAMES=3"] {
            assert!(lines.contains(&line), "{line} is not in {lines:?}");
        }
    }

    #[test]
    fn the_fields_of_spans_are_there_too_also_those_known_later() {
        let seen = entries(|| {
            let span = tracing::info_span!("session", viewer = "ab12", camera = tracing::field::Empty);
            span.record("camera", "cam1");
            span.in_scope(|| tracing::info!("the viewer is connected"));
        });
        assert!(
            seen[0].contains("\nPINHOLE_VIEWER=ab12\n") && seen[0].contains("\nPINHOLE_CAMERA=cam1\n"),
            "{seen:?}"
        );
        assert!(seen[0].starts_with("MESSAGE=the viewer is connected viewer=ab12 camera=cam1\n"), "{seen:?}");
    }

    #[test]
    fn a_value_with_line_ends_cannot_forge_a_field() {
        let seen = entries(|| tracing::info!(name = "x\nPRIORITY=0", "hello"));
        let forged = "PINHOLE_NAME\n\u{c}\0\0\0\0\0\0\0x\nPRIORITY=0\n";
        assert!(seen[0].contains(forged), "{:?}", seen[0]);
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_character() {
        let seen = entries(|| tracing::info!("{}", "é".repeat(MAX_MESSAGE)));
        let message = seen[0].lines().next().expect("a first line");
        assert_eq!(message.len(), "MESSAGE=".len() + MAX_MESSAGE);
    }

    #[test]
    fn names_are_such_as_the_journal_takes() {
        assert_eq!(journal_name("last.frame-no"), "PINHOLE_LAST_FRAME_NO");
        assert_eq!(journal_name(&"x".repeat(100)).len(), MAX_NAME);
    }
}
