//! The parts of a message, and what is in them.

use gatepost_proto::mime::{Head, PARTS, Part, StructureError, StructureReader, TransferDecoder, TransferError, words};

/// The first octet is the length of pieces; the rest is a message.
pub fn check(data: &[u8]) {
    let Some((length, message)) = data.split_first() else { return };
    let Ok(head) = Head::parse(message) else { return };
    let cut = usize::from(*length) + 1;
    let whole = read(&head, message, message.len().max(1));
    assert_eq!(read(&head, message, cut), whole, "the pieces do not matter");
    let Ok(parts) = whole else { return };
    assert!((1..=PARTS).contains(&parts.len()));
    let mut end = head.body() as u64;
    for (index, part) in parts.iter().enumerate() {
        assert_eq!(part.parent.is_none(), index == 0, "the message is the first part, and the others are in it");
        assert!(part.parent.is_none_or(|parent| parent < index && parts[parent].is_multipart()));
        if part.is_multipart() {
            assert!(part.body.is_empty());
            continue;
        }
        assert!(part.body.start >= end && part.body.end >= part.body.start, "parts lie one behind the other");
        end = part.body.end;
        for text in [part.disposition.text("filename"), part.media.text("name")].into_iter().flatten() {
            assert!(text.len() <= 16 * message.len(), "a name is not longer than what was sent");
        }
        let body = &message[usize::try_from(part.body.start).unwrap()..usize::try_from(part.body.end).unwrap()];
        let content = decoded(part, body, body.len().max(1));
        assert_eq!(decoded(part, body, cut), content, "the pieces do not matter");
        if let Ok(content) = content {
            assert!(content.len() <= body.len(), "no encoding makes content shorter");
            let charset = part.media.parameter("charset").map(|charset| String::from_utf8_lossy(charset).into_owned());
            let _text = words::decoded(&content, charset.as_deref());
        }
    }
    assert!(end <= message.len() as u64);
    for field in head.fields() {
        let _text = words::text(head.value(field));
    }
}

fn read(head: &Head<'_>, message: &[u8], cut: usize) -> Result<Vec<Part>, StructureError> {
    let mut reader = StructureReader::new(head)?;
    for piece in message[head.body()..].chunks(cut) {
        reader.feed(piece)?;
    }
    reader.finish()
}

fn decoded(part: &Part, body: &[u8], cut: usize) -> Result<Vec<u8>, TransferError> {
    let (mut decoder, mut content) = (TransferDecoder::new(part.encoding), Vec::new());
    for piece in body.chunks(cut) {
        decoder.decode(piece, &mut content)?;
    }
    decoder.finish().map(|()| content)
}
