//! Pieces that the file layer is made of: values that know their place in the file.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::quantity::Quantity;

/// A value and the bytes of the file that it was read from.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// A quantity as text, not yet read: reading it is part of the check, so that all mistakes are shown at once.
#[derive(Debug, Clone)]
pub(crate) struct Unit<Q> {
    pub(crate) text: At<String>,
    quantity: PhantomData<Q>,
}

/// A mapping from names to values, in the order of the file.
#[derive(Debug, Clone)]
pub(crate) struct Entries<V>(pub(crate) Vec<(At<String>, V)>);

/// A scalar for the usual case, a mapping or list where there is more to say.
#[derive(Debug, Clone)]
pub(crate) enum Either<Short, Long> {
    Short(Short),
    Long(Long),
}

/// A mapping whose first key is a variant of the enum `Head`; its other keys are the fields of `Rest`.
#[derive(Debug, Clone)]
pub(crate) struct Headed<Head, Rest> {
    pub(crate) head: Head,
    pub(crate) rest: Rest,
}

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::deserialize(deserializer)?;
        let span = referenced.span();
        // The parser counts bytes whenever it reads from a string.
        let start = usize::try_from(span.byte_offset().unwrap_or_default()).map_err(D::Error::custom)?;
        let length = usize::try_from(span.byte_len().unwrap_or_default()).map_err(D::Error::custom)?;
        Ok(At { value, span: start..start + length })
    }
}

impl<'de, Q> Deserialize<'de> for Unit<Q> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Unit { text: At::deserialize(deserializer)?, quantity: PhantomData })
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Collect<V> {
            type Value = Entries<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping from names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect(PhantomData))
    }
}

impl<'de, S: Deserialize<'de>, L: Deserialize<'de>> Deserialize<'de> for Either<S, L> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choose<S, L>(PhantomData<(S, L)>);

        impl<'de, S: Deserialize<'de>, L: Deserialize<'de>> Visitor<'de> for Choose<S, L> {
            type Value = Either<S, L>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a single value or its long form")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                S::deserialize(text.into_deserializer()).map(Either::Short)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                S::deserialize(number.into_deserializer()).map(Either::Short)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                S::deserialize(number.into_deserializer()).map(Either::Short)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                L::deserialize(SeqAccessDeserializer::new(list)).map(Either::Long)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                L::deserialize(MapAccessDeserializer::new(map)).map(Either::Long)
            }
        }
        deserializer.deserialize_any(Choose(PhantomData))
    }
}

impl<'de, H: Deserialize<'de>, R: Deserialize<'de>> Deserialize<'de> for Headed<H, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Split<H, R>(PhantomData<(H, R)>);

        impl<'de, H: Deserialize<'de>, R: Deserialize<'de>> Visitor<'de> for Split<H, R> {
            type Value = Headed<H, R>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let head = H::deserialize(MapAccessDeserializer::new(&mut map))?;
                Ok(Headed { head, rest: R::deserialize(MapAccessDeserializer::new(map))? })
            }
        }
        deserializer.deserialize_map(Split(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<Q: Quantity> JsonSchema for Unit<Q> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Q::NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": Q::PATTERN })
    }
}

impl<V: JsonSchema> JsonSchema for Entries<V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Entries_of_{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<V>() })
    }
}

impl<S: JsonSchema, L: JsonSchema> JsonSchema for Either<S, L> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}_or_{}", S::schema_name(), L::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<S>(), generator.subschema_for::<L>()] })
    }
}

impl<H: JsonSchema, R: JsonSchema> JsonSchema for Headed<H, R> {
    /// That of the enum, which appears in a schema in this form only.
    fn schema_name() -> Cow<'static, str> {
        H::schema_name()
    }

    /// The schema of the enum, with the fields of `R` added to each of its variants.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rest = R::json_schema(generator);
        let mut head = H::json_schema(generator);
        let variants = head.get_mut("oneOf").and_then(|variants| variants.as_array_mut());
        for variant in variants.expect("an enum with data is a list of its variants") {
            let fields = variant.get_mut("properties").and_then(|fields| fields.as_object_mut());
            let added = rest.get("properties").and_then(|fields| fields.as_object()).into_iter().flatten();
            fields
                .expect("a variant is an object with its name as the key")
                .extend(added.map(|(name, field)| (name.clone(), field.clone())));
        }
        head
    }
}
