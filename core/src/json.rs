//! Strict JSON checking and exact top-level matching.
//!
//! Texts come from outside and may be hostile, so nesting is checked by a scanner that does
//! not recurse. Only values whose depth that scanner has already bounded are ever built.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

/// The deepest nesting accepted, counting the top-level object as 1.
///
/// Recursion over accepted values is bounded by this, and one bit for each level fits a `u128`.
pub(crate) const MAX_DEPTH: usize = 127;

/// Why a text was refused, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The byte offset in the text at which the refusal was decided.
    pub(crate) offset: usize,
    /// What is wrong there, fit to show to a person.
    pub(crate) reason: &'static str,
}

/// Accepts exactly the RFC 8259 texts that are an object nested at most [`MAX_DEPTH`] deep.
///
/// Takes linear time and constant memory, and never recurses, so no text can exhaust the
/// stack. Numbers may have any length and exponent. An escaped surrogate without its pair is
/// refused, because it stands for no code point and so could not be compared.
pub(crate) fn check_object(text: &str) -> Result<(), Problem> {
    let mut scanner = Scanner::new(text);
    if scanner.peek() != Some(b'{') {
        return Err(scanner.problem("expected an object"));
    }
    scanner.skip_value()?;
    scanner.skip_space();
    match scanner.peek() {
        None => Ok(()),
        Some(_) => Err(scanner.problem("unexpected text after the object")),
    }
}

/// A JSON object that selects the texts having all its top-level members.
///
/// Values are equal when they mean the same: object keys in any order, numbers by exact value
/// (never rounded to a float), strings by code points after unescaping. Where a key is
/// repeated the last one counts, at every level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectFilter {
    /// The canonical text of the value wanted for each key, unescaped.
    wanted: BTreeMap<String, String>,
    /// What stands in every matching text that escapes nothing.
    needles: Vec<String>,
}

impl ObjectFilter {
    /// Reads a filter, which must pass [`check_object`].
    pub(crate) fn new(filter: &str) -> Result<Self, Problem> {
        check_object(filter)?;
        let wanted = Scanner::new(filter).read_members()?;
        let needles = wanted.iter().flat_map(|(key, value)| {
            let mut needle = String::new();
            write_string(key, &mut needle);
            // Numbers, lists and objects have many spellings.
            let is_spelt_once =
                value.starts_with('"') || matches!(&**value, "true" | "false" | "null");
            [Some(needle), is_spelt_once.then(|| value.clone())]
        });
        let needles = needles.flatten().collect();
        Ok(Self { wanted, needles })
    }

    /// Whether `text` has every top-level key of the filter, each with an equal value.
    ///
    /// The empty filter matches every text, even one that is not JSON. Any other filter
    /// matches only texts that pass [`check_object`].
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.is_empty()
            || (self.may_match(text)
                && check_object(text).is_ok()
                && self.matches_checked(text).unwrap_or(false))
    }

    /// Tells most texts that do not match in a fraction of the time that reading them takes.
    fn may_match(&self, text: &str) -> bool {
        self.needles
            .iter()
            .all(|needle| text.contains(needle.as_str()))
            || text.contains('\\')
    }

    /// The canonical text of each member, one that no other member has.
    pub(crate) fn members(&self) -> impl ExactSizeIterator<Item = String> + '_ {
        self.wanted.iter().map(|(key, value)| {
            let mut member = String::new();
            write_string(key, &mut member);
            member.push(':');
            member.push_str(value);
            member
        })
    }

    /// A number for each member, never zero.
    pub(crate) fn terms(&self) -> Vec<i64> {
        let term = |member: String| {
            let mut hasher = SipHasher13::new();
            hasher.write(member.as_bytes());
            match hasher.finish().cast_signed() {
                // Left for those who index, to mean something of their own.
                0 => 1,
                term => term,
            }
        };
        self.members().map(term).collect()
    }

    /// Whether the filter is `{}`, which matches everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// A text that is the same for two filters exactly when they mean the same.
    ///
    /// It is itself a filter of that meaning, and stays the same however the original was
    /// spelt, so it can be stored or hashed as a fingerprint.
    pub(crate) fn canonical(&self) -> String {
        let mut out = String::new();
        write_members(&self.wanted, &mut out);
        out
    }

    /// Finds the last place of each wanted key first, so that only those values are built.
    fn matches_checked(&self, text: &str) -> Result<bool, Problem> {
        let mut places = HashMap::new();
        let mut scanner = Scanner::new(text);
        scanner.for_each_member(|scanner, key| {
            scanner.skip_space();
            if let Some((wanted_key, _)) = self.wanted.get_key_value(&key) {
                places.insert(wanted_key, scanner.at);
            }
            scanner.skip_value()
        })?;
        for (key, wanted) in &self.wanted {
            let Some(&at) = places.get(key) else {
                return Ok(false);
            };
            let mut value = String::new();
            Scanner { text, at }.canonicalise(&mut value)?;
            if value != *wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Writes members whose values are canonical texts already.
fn write_members(members: &BTreeMap<String, String>, out: &mut String) {
    out.push('{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(key, out);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
}

/// Escapes only what JSON requires, and always in the same way.
fn write_string(string: &str, out: &mut String) {
    out.push('"');
    for c in string.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// A number as an integer without trailing zeros times a power of ten, or `0`.
///
/// Every value has exactly one such form, so equal texts mean equal numbers.
fn canonical_number(number: &str) -> String {
    let unsigned = number.trim_start_matches('-');
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, ""));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let written = format!("{integer}{fraction}");
    let digits = written.trim_end_matches('0');
    let shift = written.len() as i128 - digits.len() as i128 - fraction.len() as i128;
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return "0".to_owned();
    }
    let sign = if number.starts_with('-') { "-" } else { "" };
    format!("{sign}{digits}e{}", shifted_exponent(exponent, shift))
}

/// Adds `shift`, at most a text's length, to an exponent of any number of digits, exactly.
fn shifted_exponent(exponent: &str, shift: i128) -> String {
    let negative = exponent.starts_with('-');
    let digits = exponent
        .trim_start_matches(['-', '+'])
        .trim_start_matches('0');
    // 30 digits and any text's length both leave room in an i128.
    if digits.len() <= 30 {
        let magnitude = digits.parse().unwrap_or(0_i128);
        let exponent = if negative { -magnitude } else { magnitude };
        return (exponent + shift).to_string();
    }
    // Here the exponent dwarfs the shift, so its sign stays and the last carry is not negative.
    let mut carry = if negative { -shift } else { shift };
    let mut reversed = Vec::with_capacity(digits.len() + 2);
    for digit in digits.bytes().rev() {
        let sum = i128::from(digit - b'0') + carry;
        reversed.push(char::from(b'0' + sum.rem_euclid(10) as u8));
        carry = sum.div_euclid(10);
    }
    if carry > 0 {
        reversed.push('1');
    }
    let sum: String = reversed.into_iter().rev().collect();
    let sign = if negative { "-" } else { "" };
    format!("{sign}{}", sum.trim_start_matches('0'))
}

/// A place in a text, and the one grammar by which both checking and reading move it on.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the first byte that is not white space.
    fn new(text: &'a str) -> Self {
        let mut scanner = Self { text, at: 0 };
        scanner.skip_space();
        scanner
    }

    fn problem(&self, reason: &'static str) -> Problem {
        let offset = self.at;
        Problem { offset, reason }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), Problem> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.problem(reason))
        }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Checks and passes one value of any kind, without recursion.
    fn skip_value(&mut self) -> Result<(), Problem> {
        // The lowest bit tells whether the innermost open container is an object.
        let mut objects = 0_u128;
        let mut depth = 0;
        loop {
            self.skip_space();
            match self.peek() {
                Some(opener @ (b'{' | b'[')) => {
                    if depth == MAX_DEPTH {
                        return Err(self.problem("nested too deeply"));
                    }
                    let is_object = opener == b'{';
                    self.at += 1;
                    depth += 1;
                    objects = objects << 1 | u128::from(is_object);
                    self.skip_space();
                    if self.peek() != Some(if is_object { b'}' } else { b']' }) {
                        if is_object {
                            self.key(|_| {})?;
                        }
                        continue;
                    }
                }
                Some(b'"') => self.string(|_| {})?,
                Some(b'-' | b'0'..=b'9') => _ = self.number()?,
                _ => _ = self.word()?,
            }
            // A value has ended, or an empty container is about to.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                self.skip_space();
                let is_object = objects & 1 == 1;
                if self.take(if is_object { b'}' } else { b']' }) {
                    depth -= 1;
                    objects >>= 1;
                } else {
                    self.expect(b',', "expected a comma or the closing bracket")?;
                    if is_object {
                        self.key(|_| {})?;
                    }
                    break;
                }
            }
        }
    }

    /// Passes one value and appends the one text of all values equal to it.
    ///
    /// Recurses, so only for text whose depth has been checked.
    fn canonicalise(&mut self, out: &mut String) -> Result<(), Problem> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => write_members(&self.read_members()?, out),
            Some(b'[') => {
                self.at += 1;
                out.push('[');
                self.skip_space();
                while !self.take(b']') {
                    self.canonicalise(out)?;
                    self.skip_space();
                    if self.take(b',') {
                        out.push(',');
                    }
                }
                out.push(']');
            }
            Some(b'"') => {
                let mut string = String::new();
                self.string(|piece| string.push_str(piece))?;
                write_string(&string, out);
            }
            Some(b'-' | b'0'..=b'9') => out.push_str(&canonical_number(self.number()?)),
            _ => out.push_str(self.word()?),
        }
        Ok(())
    }

    fn read_members(&mut self) -> Result<BTreeMap<String, String>, Problem> {
        let mut members = BTreeMap::new();
        self.for_each_member(|scanner, key| {
            let mut value = String::new();
            scanner.canonicalise(&mut value)?;
            members.insert(key, value);
            Ok(())
        })?;
        Ok(members)
    }

    /// Hands each key of an object to `member`, which must pass the value. For checked text.
    fn for_each_member(
        &mut self,
        mut member: impl FnMut(&mut Self, String) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        self.expect(b'{', "expected an object")?;
        self.skip_space();
        while !self.take(b'}') {
            let mut key = String::new();
            self.key(|piece| key.push_str(piece))?;
            member(self, key)?;
            self.skip_space();
            self.take(b',');
        }
        Ok(())
    }

    fn key(&mut self, keep: impl FnMut(&str)) -> Result<(), Problem> {
        self.skip_space();
        self.string(keep)?;
        self.skip_space();
        self.expect(b':', "expected a colon")
    }

    fn word(&mut self) -> Result<&'static str, Problem> {
        for word in ["null", "true", "false"] {
            if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(word);
            }
        }
        Err(self.problem("expected a value"))
    }

    fn digits(&mut self) -> Result<&'a str, Problem> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.problem("expected a digit"));
        }
        Ok(&self.text[start..self.at])
    }

    fn number(&mut self) -> Result<&'a str, Problem> {
        let start = self.at;
        self.take(b'-');
        let integer = self.digits()?;
        if integer.len() > 1 && integer.starts_with('0') {
            return Err(self.problem("a number may not start with a needless zero"));
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            _ = self.take(b'-') || self.take(b'+');
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    /// Checks and passes a string, handing its unescaped content to `keep` piece by piece.
    fn string(&mut self, mut keep: impl FnMut(&str)) -> Result<(), Problem> {
        self.expect(b'"', "expected a string")?;
        let mut start = self.at;
        loop {
            match self.peek() {
                None => return Err(self.problem("unfinished string")),
                Some(0..=0x1f) => return Err(self.problem("raw control character in a string")),
                Some(end @ (b'"' | b'\\')) => {
                    keep(&self.text[start..self.at]);
                    if end == b'"' {
                        self.at += 1;
                        return Ok(());
                    }
                    keep(self.escape()?.encode_utf8(&mut [0; 4]));
                    start = self.at;
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, Problem> {
        let lone = self.problem("escaped surrogate without its pair");
        self.expect(b'\\', "expected an escape")?;
        let c = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let mut code = self.hex_unit()?;
                if (0xd800..0xdc00).contains(&code) {
                    if !(self.take(b'\\') && self.peek() == Some(b'u')) {
                        return Err(lone);
                    }
                    let low = self.hex_unit()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(lone);
                    }
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                }
                return char::from_u32(code).ok_or(lone);
            }
            _ => return Err(self.problem("unknown escape")),
        };
        self.at += 1;
        Ok(c)
    }

    /// Reads `u` and its four digits.
    fn hex_unit(&mut self) -> Result<u32, Problem> {
        self.expect(b'u', "expected an escape")?;
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let digit = digit.ok_or_else(|| self.problem("expected a hexadecimal digit"))?;
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests;
