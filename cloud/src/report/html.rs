//! Markup and text kept apart by type: markup is written in this program, text comes from anywhere and is escaped.

use std::fmt::Write as _;

/// A page under construction.
#[derive(Debug, Default)]
pub(crate) struct Html(String);

impl Html {
    /// Adds markup. Only what stands in the source code can be markup.
    pub(crate) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, safe between tags and in quoted attributes.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(' '),
                // Controls are not allowed in HTML; the directional ones could make a text read backwards.
                other if other.is_control() || is_directional(other) => self.0.push('\u{fffd}'),
                other => self.0.push(other),
            }
        }
        self
    }

    /// Adds a number with three digits after the point, for lengths in per cent.
    pub(crate) fn number(&mut self, number: f64) -> &mut Self {
        // Writing to a string does not fail. A style must not say `NaN`.
        let _ = write!(self.0, "{:.3}", if number.is_finite() { number } else { 0.0 });
        self
    }

    /// Adds `<tag>text</tag>`; both tags are given whole.
    pub(crate) fn element(&mut self, open: &'static str, text: &str, close: &'static str) -> &mut Self {
        self.markup(open).text(text).markup(close)
    }

    /// Adds JSON to a script element, which must hold no `<`: texts in it are escaped already.
    pub(crate) fn json(&mut self, json: &str) -> &mut Self {
        self.0.push_str(&json.replace('<', "\\u003c"));
        self
    }

    /// The page.
    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// Bidirectional embeddings, overrides and isolates (Unicode Standard Annex 9).
const fn is_directional(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut html = Html::default();
        html.text("<script>\"&'\u{202e}\0x\ny").number(f64::NAN).number(1.5);
        assert_eq!(html.finish(), "&lt;script&gt;&quot;&amp;&#39;\u{fffd}\u{fffd}x y0.0001.500");
    }
}
