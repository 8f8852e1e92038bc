//! The header `traceparent`, as W3C Trace Context has it: <https://www.w3.org/TR/trace-context/>.

use std::fmt;

/// Which trace a call belongs to, and which of its spans is the parent of what the server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
}

/// The parent records: what the server records has its place.
const SAMPLED: u8 = 1;

impl TraceContext {
    /// A new trace, which is recorded.
    pub fn random() -> Self {
        Self { trace: random(rand::random), span: random(rand::random), flags: SAMPLED }
    }

    /// With what another library knows. Nothing if these are not valid.
    pub fn of(trace: [u8; 16], span: [u8; 8], flags: u8) -> Option<Self> {
        Self { trace: u128::from_be_bytes(trace), span: u64::from_be_bytes(span), flags }.valid()
    }

    /// The trace, the span and the flags, as other libraries have them.
    pub fn parts(self) -> ([u8; 16], [u8; 8], u8) {
        (self.trace.to_be_bytes(), self.span.to_be_bytes(), self.flags)
    }

    /// A further span of the same trace.
    pub fn child(self) -> Self {
        Self { span: random(rand::random), ..self }
    }

    /// The id of the trace, as people and tools write it.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// Whether the parent records.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Reads the header. What is not valid is no context: a new trace begins. Of a later version, what this one knows is taken.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let mut field = |length: usize| {
            let is_hex = |field: &&str| field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            fields.next().filter(|field| field.len() == length).filter(is_hex)
        };
        let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        if version == "ff" || version == "00" && fields.next().is_some() {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok()?;
        let span = u64::from_str_radix(span, 16).ok()?;
        // Other flags than this are not known.
        let flags = u8::from_str_radix(flags, 16).ok()? & SAMPLED;
        Self { trace, span, flags }.valid()
    }

    fn valid(self) -> Option<Self> {
        (self.trace != 0 && self.span != 0).then_some(self)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Zero is not valid.
fn random<T: PartialEq + Default>(mut random: impl FnMut() -> T) -> T {
    std::iter::repeat_with(&mut random).find(|number| *number != T::default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_read_as_the_specification_says() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let known = format!("00-{TRACE}-00f067aa0ba902b7-01");
        for (text, expected) in [
            (known.clone(), Some(known.clone())),
            (known.replace("-01", "-00"), Some(known.replace("-01", "-00"))),
            // Flags that this version does not know are not passed on.
            (known.replace("-01", "-09"), Some(known.clone())),
            // A later version may have more.
            (known.replacen("00-", "cc-", 1), Some(known.clone())),
            (known.replacen("00-", "cc-", 1) + "-what-comes", Some(known.clone())),
            (known.clone() + "-more", None),
            (known.replacen("00-", "ff-", 1), None),
            (known.to_uppercase(), None),
            (known.replace(TRACE, &"0".repeat(32)), None),
            (known.replace("00f067aa0ba902b7", &"0".repeat(16)), None),
            (known.replace("-01", "-1"), None),
            (known.replace("-01", ""), None),
            (String::new(), None),
        ] {
            assert_eq!(TraceContext::parse(&text).map(|context| context.to_string()), expected, "{text:?}");
        }
    }

    #[test]
    fn new_contexts_are_valid_and_children_stay_in_their_trace() {
        let context = TraceContext::random();
        assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
        let child = context.child();
        assert_eq!(child.trace_id(), context.trace_id());
        assert_ne!(child.span, context.span);
        assert_ne!(TraceContext::random().trace_id(), context.trace_id());
    }
}
