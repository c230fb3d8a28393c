//! The types of settings, and how each is read from text or TOML and written as TOML.

use crate::config::{KvGroups, KvNull, KvScale};
use crate::data::padding::Padding;
use crate::data::tokenizer::Pretokenizer;

/// A value before it is parsed.
#[derive(Clone, Debug, PartialEq)]
pub enum RawValue {
    /// A text of the command line.
    Text(String),
    /// A value of a TOML file, or an array of the texts of one option.
    Toml(toml::Value),
}

/// A type of settings.
pub trait Setting: Sized {
    /// The placeholder for the value in help.
    const HINT: &'static str;
    /// Parses a value.
    ///
    /// # Errors
    /// The end of an error message: "expected a whole number".
    fn read(raw: &RawValue) -> Result<Self, String>;
    /// The TOML value that [`Setting::read`] parses to the same value.
    fn write(&self) -> toml::Value;
}

macro_rules! whole_number {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            const HINT: &'static str = "N";
            fn read(raw: &RawValue) -> Result<Self, String> {
                let number = match raw {
                    RawValue::Text(text) => text.parse::<i128>().ok(),
                    RawValue::Toml(value) => value.as_integer().map(i128::from),
                };
                let number = number.ok_or("expected a whole number")?;
                if number < 0 {
                    return Err("must be 0 or more".into());
                }
                // config.toml could not hold more: TOML's integers have 64 bits with a sign.
                let most = i128::from(i64::MAX).min(i128::try_from(<$type>::MAX).unwrap_or(i128::MAX));
                <$type>::try_from(number).ok().filter(|_| number <= most).ok_or_else(|| format!("must be at most {most}"))
            }
            fn write(&self) -> toml::Value {
                match i64::try_from(*self) {
                    Ok(number) => toml::Value::Integer(number),
                    // Only settings made by code can have it; validation refuses the text.
                    Err(_) => toml::Value::String(self.to_string()),
                }
            }
        }
    )+};
}
whole_number!(u32, u64, usize);

impl Setting for f64 {
    const HINT: &'static str = "X";
    fn read(raw: &RawValue) -> Result<Self, String> {
        let number = match raw {
            RawValue::Text(text) => text.parse().ok(),
            RawValue::Toml(toml::Value::Integer(n)) => Some(*n as f64),
            RawValue::Toml(value) => value.as_float(),
        };
        number.ok_or_else(|| "expected a number".into())
    }
    fn write(&self) -> toml::Value {
        toml::Value::Float(*self)
    }
}

impl Setting for f32 {
    const HINT: &'static str = "X";
    fn read(raw: &RawValue) -> Result<Self, String> {
        f64::read(raw).map(|x| x as f32)
    }
    fn write(&self) -> toml::Value {
        // Through the shortest decimal: 0.1 is written as 0.1, not as 0.10000000149.
        toml::Value::Float(self.to_string().parse().unwrap_or(f64::from(*self)))
    }
}

impl Setting for String {
    const HINT: &'static str = "TEXT";
    fn read(raw: &RawValue) -> Result<Self, String> {
        match raw {
            RawValue::Text(text) => Ok(text.clone()),
            RawValue::Toml(value) => value.as_str().map(Into::into).ok_or_else(|| "expected a text in quotes".into()),
        }
    }
    fn write(&self) -> toml::Value {
        toml::Value::String(self.clone())
    }
}

impl Setting for bool {
    const HINT: &'static str = "true|false";
    fn read(raw: &RawValue) -> Result<Self, String> {
        let value = match raw {
            RawValue::Text(text) => text.parse().ok(),
            RawValue::Toml(value) => value.as_bool(),
        };
        value.ok_or_else(|| "expected true or false".into())
    }
    fn write(&self) -> toml::Value {
        toml::Value::Boolean(*self)
    }
}

impl Setting for std::path::PathBuf {
    const HINT: &'static str = "PATH";
    fn read(raw: &RawValue) -> Result<Self, String> {
        let path = String::read(raw).map_err(|_| "expected a path in quotes")?;
        if path.is_empty() { Err(EMPTY_PATH.into()) } else { Ok(path.into()) }
    }
    fn write(&self) -> toml::Value {
        toml::Value::String(self.to_string_lossy().into_owned())
    }
}

/// What is expected in place of an empty path, as that of a variable of the shell that is not set.
const EMPTY_PATH: &str = "expected the path of a file or a folder, but it is empty";

/// One path, or a list of them.
impl Setting for Vec<std::path::PathBuf> {
    const HINT: &'static str = "FILE|DIR";
    fn read(raw: &RawValue) -> Result<Self, String> {
        let paths: Option<Vec<&str>> = match raw {
            RawValue::Text(text) | RawValue::Toml(toml::Value::String(text)) => Some(vec![text]),
            RawValue::Toml(toml::Value::Array(all)) => all.iter().map(toml::Value::as_str).collect(),
            RawValue::Toml(_) => None,
        };
        let paths = paths.ok_or("expected a path in quotes, or a list of them")?;
        if paths.iter().any(|path| path.is_empty()) {
            return Err(EMPTY_PATH.into());
        }
        Ok(paths.into_iter().map(Into::into).collect())
    }
    fn write(&self) -> toml::Value {
        match self.as_slice() {
            [one] => one.write(),
            all => toml::Value::Array(all.iter().map(Setting::write).collect()),
        }
    }
}

macro_rules! named_choice {
    ($($name:ty, $hint:literal;)+) => {$(
        impl Setting for $name {
            const HINT: &'static str = $hint;
            fn read(raw: &RawValue) -> Result<Self, String> {
                let text = match raw {
                    RawValue::Text(text) | RawValue::Toml(toml::Value::String(text)) => text.clone(),
                    RawValue::Toml(value) => value.to_string(),
                };
                text.parse().map_err(|_| format!("expected {}", one_of(Self::NAMES)))
            }
            fn write(&self) -> toml::Value {
                let name = self.to_string();
                name.parse().map_or(toml::Value::String(name), toml::Value::Integer)
            }
        }
    )+};
}
named_choice! {
    KvGroups, "1|head|channel";
    KvNull, "learned|zero";
    KvScale, "head|width";
    Padding, "packed|grouped|padded";
}

macro_rules! choice {
    ($(#[$outer:meta])* $name:ident, $hint:literal { $($(#[$inner:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$inner])* $variant),+ }

        impl $name {
            /// The name of the choice in files and options.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl Setting for $name {
            const HINT: &'static str = $hint;
            fn read(raw: &RawValue) -> Result<Self, String> {
                let text = String::read(raw).unwrap_or_default();
                match text.as_str() {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("expected {}", one_of(&[$($text),+]))),
                }
            }
            fn write(&self) -> toml::Value {
                toml::Value::String(self.name().into())
            }
        }
    };
}

impl Setting for Pretokenizer {
    const HINT: &'static str = "bytes|bert|openai";
    fn read(raw: &RawValue) -> Result<Self, String> {
        String::read(raw).unwrap_or_default().parse().map_err(|_| "expected bytes, bert or openai".into())
    }
    fn write(&self) -> toml::Value {
        toml::Value::String(self.to_string())
    }
}

choice! {
    /// The learning-rate schedule after warm-up.
    ScheduleKind, "cosine|linear|constant" {
        /// Cosine decay to 0.
        Cosine = "cosine",
        /// Linear decay to 0.
        Linear = "linear",
        /// A constant rate.
        Constant = "constant",
    }
}

choice! {
    /// The optimizer.
    Optimizer, "adamw" {
        /// PyTorch's AdamW.
        AdamW = "adamw",
        /// AdamW as in the 2018 PyTorch port of GPT-1: weight decay after the update.
        Hf2018 = "hf2018",
    }
}

choice! {
    /// The number types of products.
    Precision, "f32|mixed|auto" {
        /// All in f32.
        F32 = "f32",
        /// Operands in f16, sums in f32, on matrix units.
        Mixed = "mixed",
        /// Mixed where the adapter has matrix units, else f32.
        Auto = "auto",
    }
}

/// The length of the warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Warmup {
    /// A number of steps.
    Steps(u32),
    /// A share of all steps, rounded up; at least 0 and below 1.
    Share(f64),
    /// That of a preset, which is not set: a number of steps, and at most a fifth of all steps.
    Preset(u32),
}

impl Setting for Warmup {
    const HINT: &'static str = "N|SHARE";
    fn read(raw: &RawValue) -> Result<Self, String> {
        let expected = "expected a whole number of steps, or a share of all steps below 1";
        let number = f64::read(raw).map_err(|_| expected)?;
        if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
            Ok(Warmup::Steps(number as u32))
        } else if (0.0..1.0).contains(&number) {
            Ok(Warmup::Share(number))
        } else {
            Err(expected.into())
        }
    }
    fn write(&self) -> toml::Value {
        match self {
            Warmup::Steps(n) | Warmup::Preset(n) => n.write(),
            Warmup::Share(x) => x.write(),
        }
    }
}

/// The batch of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchChoice {
    /// So many sequences.
    Sequences(usize),
    /// As many as the device needs for its full speed, which is measured.
    Auto,
}

impl Setting for BatchChoice {
    const HINT: &'static str = "N|auto";
    fn read(raw: &RawValue) -> Result<Self, String> {
        match raw {
            RawValue::Text(text) | RawValue::Toml(toml::Value::String(text)) if text == "auto" => Ok(BatchChoice::Auto),
            raw => usize::read(raw).map(BatchChoice::Sequences).map_err(|error| match error.as_str() {
                "expected a whole number" => "expected a whole number or auto".into(),
                _ => error,
            }),
        }
    }
    fn write(&self) -> toml::Value {
        match self {
            BatchChoice::Sequences(n) => n.write(),
            BatchChoice::Auto => toml::Value::String("auto".into()),
        }
    }
}

/// The range of a number, which must be finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// Not a number, or one that is checked elsewhere, as by `ModelConfig::validate`.
    Free,
    /// At least this.
    AtLeast(f64),
    /// Above this.
    Above(f64),
    /// At least the first and below the second.
    From(f64, f64),
    /// Above the first and below the second.
    Between(f64, f64),
}

impl Range {
    /// Checks that a value is in the range.
    ///
    /// # Errors
    /// The end of an error message: "must be above 0".
    pub fn check(self, value: &toml::Value) -> Result<(), String> {
        let number = match value {
            toml::Value::Integer(n) => *n as f64,
            toml::Value::Float(x) => *x,
            _ => return Ok(()),
        };
        if !number.is_finite() {
            return Err("must be a finite number".into());
        }
        match self {
            Range::AtLeast(low) if number < low => Err(format!("must be {low} or more")),
            Range::Above(low) if number <= low => Err(format!("must be above {low}")),
            Range::From(low, high) if number < low || number >= high => {
                Err(format!("must be at least {low} and below {high}"))
            }
            Range::Between(low, high) if number <= low || number >= high => {
                Err(format!("must be above {low} and below {high}"))
            }
            _ => Ok(()),
        }
    }
}

/// Ratio of the learning rates of a layer and the layer above: a number, true for 1/2.6 (Howard & Ruder 2018), or false
/// for 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerDecay(pub f64);

impl Setting for LayerDecay {
    const HINT: &'static str = "X|true|false";
    fn read(raw: &RawValue) -> Result<Self, String> {
        match bool::read(raw) {
            Ok(true) => Ok(LayerDecay(1.0 / 2.6)),
            Ok(false) => Ok(LayerDecay(1.0)),
            Err(_) => f64::read(raw).map(LayerDecay).map_err(|_| "expected a number, true (1/2.6) or false".into()),
        }
    }
    fn write(&self) -> toml::Value {
        self.0.write()
    }
}

/// Joins names: "a, b or c".
pub(in crate::train) fn one_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).into(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_written_in_their_shortest_form() {
        assert_eq!(0.1f32.write().to_string(), "0.1");
        assert_eq!(f32::read(&RawValue::Toml(1e-5f32.write())), Ok(1e-5f32));
        let groups = |raw| KvGroups::read(&raw);
        assert_eq!(groups(RawValue::Toml(KvGroups::One.write())), Ok(KvGroups::One));
        assert_eq!(groups(RawValue::Text("head".into())), Ok(KvGroups::Head));
        assert_eq!(groups(RawValue::Text("2".into())), Err("expected 1, head or channel".into()));
        assert_eq!(Warmup::read(&RawValue::Text("0.002".into())), Ok(Warmup::Share(0.002)));
        assert_eq!(Warmup::read(&RawValue::Text("200".into())), Ok(Warmup::Steps(200)));
        assert!(Warmup::read(&RawValue::Text("1.5".into())).is_err());
        assert!(Warmup::read(&RawValue::Text("nan".into())).is_err());
        let batch = |text: &str| BatchChoice::read(&RawValue::Text(text.into()));
        assert_eq!((batch("auto"), batch("8")), (Ok(BatchChoice::Auto), Ok(BatchChoice::Sequences(8))));
        assert_eq!(batch("most"), Err("expected a whole number or auto".into()));
        assert_eq!(BatchChoice::read(&RawValue::Toml(BatchChoice::Auto.write())), Ok(BatchChoice::Auto));
    }
}
