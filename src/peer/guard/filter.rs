//! Whose datagrams may reach the WebRTC stack. The crate itself takes any DTLS record from any source, so that
//! forged ClientHellos from a third address keep a session from connecting (OWASP ASVS 17.2.6). Here a source
//! must first have shown by a binding request that it knows our ICE password. Pure.

use std::net::SocketAddr;

use super::stun::{self, Credentials};

/// Addresses a peer may be known by at once: its interfaces, families and relays.
const MAX_VERIFIED: usize = 32;
/// The present credentials and those before the last ICE restart.
const MAX_CREDENTIALS: usize = 2;

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// A binding request that does not prove that its sender knows our password.
    Unauthenticated,
    /// Something other than STUN, from an address that has proved nothing; or a relay's, from elsewhere.
    Unverified,
}

/// See the module.
#[derive(Debug)]
pub struct Filter {
    credentials: Vec<Credentials>,
    /// The one heard of last is last.
    verified: Vec<SocketAddr>,
    /// TURN servers: their channel data and data indications are admitted, and nobody else's.
    relays: Vec<SocketAddr>,
}

impl Filter {
    pub fn new(relays: Vec<SocketAddr>) -> Self {
        Self { credentials: Vec::new(), verified: Vec::new(), relays }
    }

    /// Adds the credentials of our newest description. Those before stay valid: after an ICE restart
    /// checks with the old ones are still on their way.
    pub fn learn(&mut self, credentials: Credentials) {
        self.credentials.retain(|known| known.ufrag() != credentials.ufrag());
        if self.credentials.len() == MAX_CREDENTIALS {
            self.credentials.remove(0);
        }
        self.credentials.push(credentials);
    }

    /// Judges one datagram by its source and first byte (RFC 7983).
    pub fn admit(&mut self, from: SocketAddr, datagram: &[u8]) -> Admission {
        match datagram.first() {
            Some(0..=3) => self.admit_stun(from, datagram),
            // RFC 8656, 12.5: channel data, from a relay.
            Some(64..=79) if self.relays.contains(&from) => Admission::Admitted,
            _ if self.verified.contains(&from) => Admission::Admitted,
            _ => Admission::Unverified,
        }
    }

    fn admit_stun(&mut self, from: SocketAddr, datagram: &[u8]) -> Admission {
        // What is wrapped in one passes for a peer's datagram that a relay brought, and where there is one relay the
        // crate takes it from any address.
        if stun::is_data_indication(datagram) && !self.relays.contains(&from) {
            return Admission::Unverified;
        }
        if let Some(at) = self.verified.iter().position(|known| *known == from) {
            self.verified[at..].rotate_left(1);
            return Admission::Admitted;
        }
        // Responses and indications are matched to their transactions by the ICE agent.
        if !stun::is_binding_request(datagram) {
            return Admission::Admitted;
        }
        if !self.credentials.iter().any(|ours| ours.match_request(datagram)) {
            return Admission::Unauthenticated;
        }
        if self.verified.len() == MAX_VERIFIED {
            self.verified.remove(0);
        }
        self.verified.push(from);
        Admission::Admitted
    }
}

#[cfg(test)]
mod tests {
    use super::{super::stun::tests::binding_request, *};

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn filter() -> Filter {
        let mut filter = Filter::new(vec![address(3478)]);
        filter.learn(Credentials::new("ours", "secret"));
        filter
    }

    const DTLS: [u8; 14] = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];

    #[test]
    fn dtls_passes_only_after_an_authentic_request_from_the_same_address() {
        let mut filter = filter();
        assert_eq!(filter.admit(address(1), &DTLS), Admission::Unverified);
        let forged = binding_request("ours", "guess");
        assert_eq!(filter.admit(address(1), &forged), Admission::Unauthenticated);
        assert_eq!(filter.admit(address(1), &DTLS), Admission::Unverified);
        assert_eq!(filter.admit(address(1), &binding_request("ours", "secret")), Admission::Admitted);
        assert_eq!(filter.admit(address(1), &DTLS), Admission::Admitted);
        assert_eq!(filter.admit(address(2), &DTLS), Admission::Unverified);
    }

    #[test]
    fn old_and_new_credentials_are_valid_after_an_ice_restart() {
        let mut filter = filter();
        filter.learn(Credentials::new("newer", "secret two"));
        assert_eq!(filter.admit(address(1), &binding_request("ours", "secret")), Admission::Admitted);
        assert_eq!(filter.admit(address(2), &binding_request("newer", "secret two")), Admission::Admitted);
        filter.learn(Credentials::new("newest", "secret three"));
        assert_eq!(filter.admit(address(3), &binding_request("ours", "secret")), Admission::Unauthenticated);
        assert_eq!(filter.admit(address(4), &binding_request("newer", "secret two")), Admission::Admitted);
    }

    #[test]
    fn a_relay_may_send_channel_data_but_no_dtls() {
        let mut filter = filter();
        assert_eq!(filter.admit(address(3478), &[0x40, 0, 0, 1, 9]), Admission::Admitted);
        assert_eq!(filter.admit(address(3479), &[0x40, 0, 0, 1, 9]), Admission::Unverified);
        assert_eq!(filter.admit(address(3478), &DTLS), Admission::Unverified);
    }

    #[test]
    fn data_indications_pass_only_from_a_relay() {
        let mut filter = filter();
        let mut indication = binding_request("ours", "secret");
        filter.admit(address(1), &indication);
        indication[..2].copy_from_slice(&[0x00, 0x17]);
        assert_eq!(filter.admit(address(3478), &indication), Admission::Admitted);
        let elsewhere = SocketAddr::from(([192, 0, 2, 9], 3478));
        for from in [elsewhere, address(1), address(2)] {
            assert_eq!(filter.admit(from, &indication), Admission::Unverified, "{from}");
        }
    }

    #[test]
    fn stun_responses_pass_from_anywhere() {
        let mut response = binding_request("x", "y");
        response[..2].copy_from_slice(&[0x01, 0x01]);
        assert_eq!(filter().admit(address(5), &response), Admission::Admitted);
    }

    #[test]
    fn the_table_keeps_the_addresses_heard_of_last() {
        let mut filter = filter();
        let request = binding_request("ours", "secret");
        for port in 1..=MAX_VERIFIED as u16 {
            filter.admit(address(port), &request);
        }
        filter.admit(address(1), &request);
        filter.admit(address(1000), &request);
        assert_eq!(filter.verified.len(), MAX_VERIFIED);
        assert_eq!(filter.admit(address(1), &DTLS), Admission::Admitted);
        assert_eq!(filter.admit(address(2), &DTLS), Admission::Unverified);
        assert_eq!(filter.admit(address(1000), &DTLS), Admission::Admitted);
    }
}
