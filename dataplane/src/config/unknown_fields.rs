//! Fields that this version does not know. A field of a newer version is ignored if the
//! configuration lists it in `ignore_if_unknown`; any other unknown field is refused: a misspelled
//! setting must not be lost silently.
//!
//! One file may serve nodes of two versions (a rolling upgrade): its writer lists the fields that
//! the older version can do without.

use std::cell::RefCell;

use lograft_core::limits::{IGNORE_IF_UNKNOWN_FIELD_MAX_BYTES, IGNORE_IF_UNKNOWN_MAX_COUNT};
use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{ConfigError, field, within};

const LIST: &str = "ignore_if_unknown";

/// Checks count, length and form of the listed fields.
pub(super) fn check_list(fields: &[String]) -> Result<(), ConfigError> {
    within(LIST, fields.len(), 0, IGNORE_IF_UNKNOWN_MAX_COUNT, "fields")?;
    for listed in fields {
        let (length, most) = (listed.len(), IGNORE_IF_UNKNOWN_FIELD_MAX_BYTES);
        within(LIST, length, 1, most, "bytes per field")?;
        if !listed.split('.').all(is_field_name) {
            let bound = "field names of a-z, 0-9 and '_', with dots for nesting".to_owned();
            return Err(field(LIST, &format!("{listed:?}"), bound));
        }
    }
    Ok(())
}

fn is_field_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.bytes().all(is_part)
}

/// The list alone, out of a configuration whose other fields may be unknown.
#[derive(Debug, Deserialize)]
pub(super) struct ListOnly {
    #[serde(default)]
    pub(super) ignore_if_unknown: Vec<String>,
}

/// Reads `T` from YAML, without unknown fields that are in `listed`. Returns the ignored fields
/// too, with dots for nesting.
pub(super) fn read<T: for<'de> Deserialize<'de>>(
    text: &str,
    listed: &[String],
) -> Result<(T, Vec<String>), serde_yaml::Error> {
    let ignored = RefCell::new(Vec::new());
    let section = Section {
        path: "",
        listed,
        ignored: &ignored,
    };
    let value = T::deserialize(Lenient {
        inner: serde_yaml::Deserializer::from_str(text),
        section,
    })?;
    Ok((value, ignored.into_inner()))
}

/// A mapping of the file and the list that applies to its fields.
#[derive(Clone, Copy)]
struct Section<'a> {
    /// With dots for nesting; empty for the file as a whole.
    path: &'a str,
    listed: &'a [String],
    ignored: &'a RefCell<Vec<String>>,
}

/// How the list mentions a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mention {
    /// The field itself.
    Listed,
    /// Only fields inside it.
    Inside,
    No,
}

impl<'a> Section<'a> {
    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            return name.to_owned();
        }
        format!("{}.{name}", self.path)
    }

    fn mention(&self, name: &str) -> Mention {
        let path = self.path_of(name);
        let is_inside = |listed: &String| {
            let rest = listed.strip_prefix(&path);
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        if self.listed.contains(&path) {
            Mention::Listed
        } else if self.listed.iter().any(is_inside) {
            Mention::Inside
        } else {
            Mention::No
        }
    }

    const fn inner(self, path: &'a str) -> Self {
        Self { path, ..self }
    }
}

/// A deserializer whose structs skip the listed fields that they do not know.
struct Lenient<'a, D> {
    inner: D,
    section: Section<'a>,
}

/// Forwards methods of `Deserializer` that read no struct.
macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V)
            -> Result<V::Value, D::Error>
        {
            self.inner.$method($($argument,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Lenient<'_, D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = StructVisitor {
            visitor,
            fields,
            section: self.section,
        };
        self.inner.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let section = self.section;
        self.inner
            .deserialize_option(OptionVisitor { visitor, section })
    }

    forward! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64()
        deserialize_f32() deserialize_f64()
        deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf()
        deserialize_unit() deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_seq() deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map()
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier() deserialize_ignored_any()
    }
}

struct OptionVisitor<'a, V> {
    visitor: V,
    section: Section<'a>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for OptionVisitor<'_, V> {
    type Value = V::Value;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.visitor.expecting(out)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let section = self.section;
        self.visitor.visit_some(Lenient { inner, section })
    }
}

struct StructVisitor<'a, V> {
    visitor: V,
    fields: &'static [&'static str],
    section: Section<'a>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for StructVisitor<'_, V> {
    type Value = V::Value;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.visitor.expecting(out)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(FieldAccess {
            map,
            fields: self.fields,
            section: self.section,
            path: String::new(),
        })
    }
}

/// The fields of a struct without the ignored ones.
struct FieldAccess<'a, A> {
    map: A,
    /// Fields that the struct knows.
    fields: &'static [&'static str],
    section: Section<'a>,
    /// Field whose value is read next.
    path: String,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for FieldAccess<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let mut seed = Some(seed);
        loop {
            let key = KeySeed {
                seed: &mut seed,
                fields: self.fields,
                section: self.section,
            };
            match self.map.next_key_seed(key)? {
                None => return Ok(None),
                Some(Key::Known { path, value }) => {
                    self.path = path;
                    return Ok(Some(value));
                }
                Some(Key::Ignored { path }) => {
                    self.map.next_value::<IgnoredAny>()?;
                    self.section.ignored.borrow_mut().push(path);
                }
                Some(Key::IgnoredInside { path }) => {
                    self.path = path;
                    self.next_value::<NoFields>()?;
                }
            }
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let section = self.section.inner(&self.path);
        self.map.next_value_seed(ValueSeed { seed, section })
    }
}

/// A section that this version does not know: each field in it must be listed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section of listed fields")]
struct NoFields {}

struct ValueSeed<'a, S> {
    seed: S,
    section: Section<'a>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for ValueSeed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let section = self.section;
        self.seed.deserialize(Lenient { inner, section })
    }
}

enum Key<K> {
    Known { path: String, value: K },
    Ignored { path: String },
    IgnoredInside { path: String },
}

/// Reads a key; `seed` is taken only if the struct gets the key, and can be used again otherwise.
struct KeySeed<'a, 's, K> {
    seed: &'s mut Option<K>,
    fields: &'static [&'static str],
    section: Section<'a>,
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for KeySeed<'_, '_, K> {
    type Value = Key<K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
        inner.deserialize_str(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for KeySeed<'_, '_, K> {
    type Value = Key<K::Value>;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a field name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        let path = self.section.path_of(name);
        let is_known = self.fields.contains(&name);
        match self.section.mention(name) {
            Mention::Listed if !is_known => return Ok(Key::Ignored { path }),
            Mention::Inside if !is_known => return Ok(Key::IgnoredInside { path }),
            _ => {}
        }
        let seed = self
            .seed
            .take()
            .ok_or_else(|| E::custom("key read twice"))?;
        let value = seed.deserialize(StrDeserializer::<E>::new(name))?;
        Ok(Key::Known { path, value })
    }
}
