//! Reads a message's bytes as the decoder does, and counts.

use prost::{
    bytes::Buf as _,
    encoding::{WireType, decode_key, decode_varint},
};
use smallvec::SmallVec;

use super::{Counted, Field, Kind, Shapes};
use crate::domain::error::Invalid;

/// What holds too much: the names of the fields that lead to it, the innermost first.
#[derive(Debug)]
struct Excess {
    path: Vec<String>,
    problem: String,
}

impl Excess {
    fn new(problem: impl Into<String>) -> Self {
        Self { path: Vec::new(), problem: problem.into() }
    }
}

/// One field as it stands on the wire.
struct Wire<'a> {
    number: u32,
    /// `None` where it is a number by itself.
    content: Option<&'a [u8]>,
}

/// The next field; `None` at the end, and where the decoder won't read on either.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Wire<'a>>, Excess> {
    if rest.is_empty() {
        return Ok(None);
    }
    let Ok((number, wire)) = decode_key(rest) else { return Ok(None) };
    let fixed = match wire {
        WireType::Varint => return Ok(decode_varint(rest).ok().map(|_| Wire { number, content: None })),
        WireType::LengthDelimited => {
            let length = decode_varint(rest).ok().and_then(|length| usize::try_from(length).ok());
            let Some((content, after)) = length.and_then(|length| rest.split_at_checked(length)) else {
                return Ok(None);
            };
            *rest = after;
            return Ok(Some(Wire { number, content: Some(content) }));
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        // The decoder would skip it, whatever stands in it; nobody writes any.
        WireType::StartGroup | WireType::EndGroup => {
            return Err(Excess::new("holds a group, which no message of this API has"));
        }
    };
    if rest.len() < fixed {
        return Ok(None);
    }
    rest.advance(fixed);
    Ok(Some(Wire { number, content: None }))
}

impl Shapes {
    /// # Errors
    /// [`Invalid`] for the first field that holds too much.
    pub(super) fn check(&self, shape: usize, message: &[u8]) -> Result<(), Invalid> {
        self.scan(shape, message).map_err(|excess| {
            let Excess { mut path, problem } = excess;
            path.reverse();
            let field = if path.is_empty() { String::from("request") } else { path.join(".") };
            Invalid::new(field, problem)
        })
    }

    fn scan(&self, shape: usize, message: &[u8]) -> Result<(), Excess> {
        let Some(shape) = self.shapes.get(shape) else { return Ok(()) };
        let mut counts: SmallVec<[usize; 8]> = SmallVec::from_elem(0, shape.counted);
        let mut rest = message;
        while let Some(Wire { number, content }) = next(&mut rest)? {
            let Some(Some(field)) = shape.fields.get(number as usize) else { continue };
            let index = match field.counted.and_then(|counted| Some((counted, counts.get_mut(counted.at)?))) {
                Some((counted, count)) => {
                    *count += entries(field, content);
                    if *count > counted.most {
                        return Err(too_many(field, counted, message, number));
                    }
                    (counted.is_repeated && !matches!(field.kind, Kind::Map(_))).then(|| *count - 1)
                }
                None => None,
            };
            self.scan_field(field, content).map_err(|mut excess| {
                excess.path.push(match index {
                    Some(index) => format!("{}[{index}]", field.name),
                    None => field.name.clone(),
                });
                excess
            })?;
        }
        Ok(())
    }

    fn scan_field(&self, field: &Field, content: Option<&[u8]>) -> Result<(), Excess> {
        // Of another type than it should be, the decoder refuses it.
        let Some(content) = content else { return Ok(()) };
        match field.kind {
            Kind::Text(most) => {
                if content.len() <= most {
                    return Ok(());
                }
                match characters(content) {
                    length if length > most => {
                        Err(Excess::new(format!("is {length} characters long; at most {most} are allowed")))
                    }
                    _ => Ok(()),
                }
            }
            Kind::Bytes(most) if content.len() > most => {
                Err(Excess::new(format!("is {} bytes long; at most {most} are allowed", content.len())))
            }
            Kind::Message(shape) => self.scan(shape, content),
            // Which of its entries it is tells nobody anything.
            Kind::Map(shape) => self.scan(shape, content).map_err(|excess| Excess::new(excess.problem)),
            Kind::Bytes(_) | Kind::Numbers => Ok(()),
        }
    }
}

/// How often a field stands in one place on the wire: numbers may stand there packed.
fn entries(field: &Field, content: Option<&[u8]>) -> usize {
    match (field.kind, content) {
        (Kind::Numbers, Some(packed)) => packed.iter().filter(|byte| **byte < 0x80).count(),
        _ => 1,
    }
}

/// Counts the rest too, to say how many there are.
fn too_many(field: &Field, counted: Counted, message: &[u8], number: u32) -> Excess {
    let (mut rest, mut count) = (message, 0);
    while let Ok(Some(wire)) = next(&mut rest) {
        if wire.number == number {
            count += entries(field, wire.content);
        }
    }
    let mut excess = match counted {
        Counted { is_repeated: true, most, .. } => Excess::new(format!("{count} entries; at most {most} are allowed")),
        Counted { .. } => Excess::new(format!("stands there {count} times; once is allowed")),
    };
    excess.path.push(field.name.clone());
    excess
}

/// Of bytes that should be UTF-8: whether they are, the decoder says.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| (**byte & 0xC0) != 0x80).count()
}
