//! STUN and TURN servers as `Link` header fields (RFC 9725, 4.6; RFC 8288). Pure.

use crate::signal::message::IceServer;

/// One field for each URL. What cannot stand in a header field is left out: a client can do without a server, but not
/// without its answer.
pub fn fields(servers: &[IceServer]) -> Vec<String> {
    servers.iter().flat_map(|server| server.urls.iter().filter_map(|url| field(url, server))).collect()
}

fn field(url: &str, server: &IceServer) -> Option<String> {
    let is_uri = url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"'));
    if !is_uri {
        return None;
    }
    let mut field = format!("<{url}>; rel=\"ice-server\"");
    if let (Some(username), Some(credential)) = (&server.username, &server.credential)
        && url.starts_with("turn")
    {
        let (username, credential) = (quoted(username)?, quoted(credential)?);
        field.push_str(&format!(
            "; username={username}; credential={credential}; credential-type=\"password\""
        ));
    }
    Some(field)
}

/// A quoted string (RFC 9110, 5.6.4), in ASCII.
fn quoted(text: &str) -> Option<String> {
    let is_text = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    is_text.then(|| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(urls: &[&str], account: Option<(&str, &str)>) -> IceServer {
        IceServer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            username: account.map(|(user, _)| user.to_owned()),
            credential: account.map(|(_, word)| word.to_owned()),
        }
    }

    #[test]
    fn each_url_is_a_field_and_only_turn_has_an_account() {
        let servers = [
            server(&["stun:stun.example.net"], None),
            server(
                &["turn:turn.example.net?transport=udp", "stun:turn.example.net"],
                Some(("1:anna", "a\"b\\c")),
            ),
        ];
        assert_eq!(
            fields(&servers),
            [
                "<stun:stun.example.net>; rel=\"ice-server\"",
                "<turn:turn.example.net?transport=udp>; rel=\"ice-server\"; username=\"1:anna\"; \
                 credential=\"a\\\"b\\\\c\"; credential-type=\"password\"",
                "<stun:turn.example.net>; rel=\"ice-server\"",
            ]
        );
    }

    #[test]
    fn what_would_break_the_header_is_left_out() {
        assert_eq!(fields(&[server(&["stun:a>b", "stun:a b"], None)]), [""; 0]);
        assert_eq!(fields(&[server(&["turn:a"], Some(("ä", "b")))]), [""; 0]);
        assert_eq!(fields(&[server(&["turn:a"], Some(("a\r\nX: b", "b")))]), [""; 0]);
    }
}
