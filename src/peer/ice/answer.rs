//! What a provider of TURN credentials answers, read. Three forms are about: {username, password, ttl, uris}
//! (draft-uberti-behave-turn-rest-00, section 2.2), a list of RTCIceServer by itself, and one or several
//! RTCIceServer in `iceServers` or `ice_servers`. Pure. Not here: asking (`fetch`).

use std::time::Duration;

use serde_json::Value;

use crate::signal::message::IceServer;

/// The longest answer that is read, bytes.
pub const MAX_ANSWER: usize = 64 * 1024;
/// All of them go into one `welcome`, which must fit into an envelope.
const MAX_SERVERS: usize = 8;
const MAX_URLS: usize = 16;
/// Of a URL, a user name or a credential, bytes. Twilio's credentials have 44, Cloudflare's 128.
const MAX_TEXT: usize = 512;

/// Why an answer is of no use. Says nothing of what was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("the answer is no JSON")]
    NotJson,
    #[error("the answer has no list of ICE servers: it has neither `iceServers`, `ice_servers` nor `uris`")]
    NoServers,
    #[error("a server in the answer has no `urls` that begin with stun:, stuns:, turn: or turns:")]
    BadUrls,
    #[error("a TURN server in the answer has no user name and password")]
    NoCredentials,
    #[error("the answer has too many servers, or too long ones")]
    TooMuch,
    #[error("the answer's `ttl` is no number of seconds above 0")]
    BadTtl,
}

/// The servers, and for how long they are good, if the answer says so.
pub fn read(body: &[u8]) -> Result<(Vec<IceServer>, Option<Duration>), AnswerError> {
    let body: Value = serde_json::from_slice(body).map_err(|_| AnswerError::NotJson)?;
    let ttl = body.get("ttl").map(read_ttl).transpose()?;
    let listed = body.get("iceServers").or_else(|| body.get("ice_servers"));
    let servers = match (listed, &body) {
        (Some(Value::Array(list)), _) | (None, Value::Array(list)) => read_list(list)?,
        (Some(one @ Value::Object(_)), _) => vec![read_server(one)?],
        (Some(_), _) => return Err(AnswerError::NoServers),
        (None, body) => match body.get("uris") {
            Some(uris) => vec![server(uris, body.get("username"), body.get("password"))?],
            None => return Err(AnswerError::NoServers),
        },
    };
    if servers.is_empty() {
        return Err(AnswerError::NoServers);
    }
    Ok((servers, ttl))
}

/// Some providers write the number as a text.
fn read_ttl(value: &Value) -> Result<Duration, AnswerError> {
    let seconds = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let seconds = seconds.filter(|seconds| (1..=u64::from(u32::MAX)).contains(seconds));
    seconds.map(Duration::from_secs).ok_or(AnswerError::BadTtl)
}

fn read_list(list: &[Value]) -> Result<Vec<IceServer>, AnswerError> {
    if list.len() > MAX_SERVERS {
        return Err(AnswerError::TooMuch);
    }
    list.iter().map(read_server).collect()
}

fn read_server(value: &Value) -> Result<IceServer, AnswerError> {
    // `url` is from before the W3C's document had `urls`.
    let urls = value.get("urls").or_else(|| value.get("url")).ok_or(AnswerError::BadUrls)?;
    server(urls, value.get("username"), value.get("credential"))
}

fn server(
    urls: &Value,
    username: Option<&Value>,
    credential: Option<&Value>,
) -> Result<IceServer, AnswerError> {
    let urls = match urls {
        Value::String(url) => vec![url.clone()],
        Value::Array(urls) if urls.len() > MAX_URLS => return Err(AnswerError::TooMuch),
        Value::Array(urls) => urls
            .iter()
            .map(|url| url.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or(AnswerError::BadUrls)?,
        _ => return Err(AnswerError::BadUrls),
    };
    if urls.is_empty() || !urls.iter().all(|url| is_ice_url(url)) {
        return Err(AnswerError::BadUrls);
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let server = IceServer { urls, username: text(username), credential: text(credential) };
    let texts = server.urls.iter().chain(&server.username).chain(&server.credential);
    if texts.map(String::len).any(|length| length > MAX_TEXT) {
        return Err(AnswerError::TooMuch);
    }
    let turn = server.urls.iter().any(|url| url.starts_with("turn"));
    if turn && (server.username.is_none() || server.credential.is_none()) {
        return Err(AnswerError::NoCredentials);
    }
    Ok(server)
}

/// Whether a text is a STUN or TURN URL by its scheme (RFC 7064, RFC 7065: no `//`).
pub fn is_ice_url(url: &str) -> bool {
    ["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| url.starts_with(scheme)) && !url.contains("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(urls: &[&str]) -> IceServer {
        IceServer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            username: Some("u".into()),
            credential: Some("c".into()),
        }
    }

    #[test]
    fn each_form_is_read() {
        let two = &["turn:192.0.2.1", "turns:192.0.2.1?transport=tcp"];
        let draft =
            br#"{"username":"u","password":"c","ttl":600,"uris":["turn:192.0.2.1","turns:192.0.2.1?transport=tcp"]}"#;
        assert_eq!(read(draft), Ok((vec![turn(two)], Some(Duration::from_secs(600)))));
        let one = br#"{"iceServers":{"urls":["turn:192.0.2.1","turns:192.0.2.1?transport=tcp"],"username":"u","credential":"c"}}"#;
        assert_eq!(read(one), Ok((vec![turn(two)], None)));
        let list =
            br#"[{"urls":"stun:192.0.2.1"},{"urls":"turn:192.0.2.1","username":"u","credential":"c"}]"#;
        let stun = IceServer { urls: vec!["stun:192.0.2.1".into()], username: None, credential: None };
        assert_eq!(read(list), Ok((vec![stun.clone(), turn(&["turn:192.0.2.1"])], None)));
        let text =
            br#"{"ttl":"86400","ice_servers":[{"url":"stun:192.0.2.1"}],"username":"x","password":"y"}"#;
        assert_eq!(read(text), Ok((vec![stun], Some(Duration::from_secs(86_400)))));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let long = format!(r#"{{"iceServers":{{"urls":"stun:{}"}}}}"#, "x".repeat(MAX_TEXT));
        let many = format!("[{}]", [r#"{"urls":"stun:x"}"#; MAX_SERVERS + 1].join(","));
        let deep = "[".repeat(20_000);
        for (text, error) in [
            ("", AnswerError::NotJson),
            ("<html>", AnswerError::NotJson),
            (&deep, AnswerError::NotJson),
            ("{}", AnswerError::NoServers),
            ("[]", AnswerError::NoServers),
            ("7", AnswerError::NoServers),
            (r#"{"iceServers":"x"}"#, AnswerError::NoServers),
            (r#"[{"urls":["http://x"]}]"#, AnswerError::BadUrls),
            (r#"[{"urls":[7]}]"#, AnswerError::BadUrls),
            (r#"[{"urls":[]}]"#, AnswerError::BadUrls),
            ("[7]", AnswerError::BadUrls),
            (r#"[{"urls":"turn:x","username":"u"}]"#, AnswerError::NoCredentials),
            (r#"{"ttl":0,"iceServers":[{"urls":"stun:x"}]}"#, AnswerError::BadTtl),
            (r#"{"ttl":-5,"iceServers":[{"urls":"stun:x"}]}"#, AnswerError::BadTtl),
            (r#"{"ttl":"soon","iceServers":[{"urls":"stun:x"}]}"#, AnswerError::BadTtl),
            (&long, AnswerError::TooMuch),
            (&many, AnswerError::TooMuch),
        ] {
            assert_eq!(read(text.as_bytes()), Err(error), "{}", &text[..text.len().min(60)]);
        }
    }
}
