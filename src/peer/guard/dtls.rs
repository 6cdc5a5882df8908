//! Reads as much of a DTLS 1.2 datagram (RFC 6347) as `flight` needs: which handshake messages it holds in the
//! clear. Pure; never fails, but marks what it could not read.

const RECORD_HEADER_LEN: usize = 13;
const HANDSHAKE_HEADER_LEN: usize = 12;
const HANDSHAKE: u8 = 22;
/// Messages looked at in one datagram; a real one has at most six.
const MAX_MESSAGES: usize = 32;

/// Which piece of which handshake message: `message_seq` and `fragment_offset`.
pub type Piece = (u16, u32);

/// What a datagram holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Handshake messages, or pieces of them, in epoch 0.
    pub pieces: Vec<Piece>,
    /// The type of the first of them: 1 is ClientHello.
    pub first_type: Option<u8>,
    /// Something encrypted: a record of epoch 1 or later.
    pub encrypted: bool,
    /// Nothing but readable handshake messages of epoch 0.
    pub plain_handshake_only: bool,
}

/// Whether the first byte is that of a DTLS record (RFC 7983).
pub fn is_dtls(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20..=63))
}

/// Reads the records of a datagram.
pub fn read(mut datagram: &[u8]) -> Contents {
    let mut contents = Contents { plain_handshake_only: !datagram.is_empty(), ..Contents::default() };
    while !datagram.is_empty() {
        let Some((kind, epoch, body, rest)) = record(datagram) else {
            contents.plain_handshake_only = false;
            break;
        };
        datagram = rest;
        if epoch > 0 {
            contents.encrypted = true;
            contents.plain_handshake_only = false;
        } else if kind != HANDSHAKE {
            contents.plain_handshake_only = false;
        } else {
            read_messages(body, &mut contents);
        }
    }
    contents
}

fn record(datagram: &[u8]) -> Option<(u8, u16, &[u8], &[u8])> {
    let header = datagram.get(..RECORD_HEADER_LEN)?;
    let epoch = u16::from_be_bytes([header[3], header[4]]);
    let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
    let body = datagram.get(RECORD_HEADER_LEN..RECORD_HEADER_LEN + length)?;
    Some((header[0], epoch, body, &datagram[RECORD_HEADER_LEN + length..]))
}

fn read_messages(mut body: &[u8], contents: &mut Contents) {
    while !body.is_empty() {
        let Some(header) = body.get(..HANDSHAKE_HEADER_LEN).filter(|_| contents.pieces.len() < MAX_MESSAGES)
        else {
            contents.plain_handshake_only = false;
            return;
        };
        contents.first_type.get_or_insert(header[0]);
        let sequence = u16::from_be_bytes([header[4], header[5]]);
        let offset = u32::from_be_bytes([0, header[6], header[7], header[8]]);
        let length = u32::from_be_bytes([0, header[9], header[10], header[11]]) as usize;
        contents.pieces.push((sequence, offset));
        let Some(rest) = body.get(HANDSHAKE_HEADER_LEN + length..) else {
            contents.plain_handshake_only = false;
            return;
        };
        body = rest;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A DTLS record.
    pub fn record(kind: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 0xfe, 0xfd];
        record.extend(epoch.to_be_bytes());
        record.extend([0; 6]);
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    /// A handshake message of two bytes in a record of its own.
    pub fn message(kind: u8, sequence: u16) -> Vec<u8> {
        let mut message = vec![kind, 0, 0, 2];
        message.extend(sequence.to_be_bytes());
        message.extend([0, 0, 0, 0, 0, 2, 7, 7]);
        record(HANDSHAKE, 0, &message)
    }

    #[test]
    fn a_flight_of_several_messages_is_read() {
        let datagram = [message(2, 0), message(11, 1), message(14, 2)].concat();
        let contents = read(&datagram);
        assert_eq!(contents.pieces, [(0, 0), (1, 0), (2, 0)]);
        assert_eq!(contents.first_type, Some(2));
        assert!(contents.plain_handshake_only && !contents.encrypted);
    }

    #[test]
    fn a_finished_message_is_marked_as_encrypted() {
        let datagram = [message(16, 3), record(20, 0, &[1]), record(22, 1, &[9; 40])].concat();
        let contents = read(&datagram);
        assert_eq!(contents.pieces, [(3, 0)]);
        assert!(contents.encrypted && !contents.plain_handshake_only);
    }

    #[test]
    fn what_is_cut_short_is_never_called_plain_handshake() {
        let datagram = [message(2, 0), message(11, 1)].concat();
        let whole = [0, message(2, 0).len(), datagram.len()];
        for end in (0..datagram.len()).filter(|end| !whole.contains(end)) {
            assert!(!read(&datagram[..end]).plain_handshake_only, "cut to {end}");
        }
    }
}
