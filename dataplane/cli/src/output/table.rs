//! Columns as wide as what stands in them.

use std::fmt::Write as _;

use super::Paint;

/// How a cell is meant; seen only where there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
}

/// A text with its tone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A text that is meant in some way.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            tone: Tone::Plain,
        }
    }
}

/// A table of text, two blanks between the columns.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these column heads; a head that begins with `>` stands right-aligned.
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self {
            right: head.iter().map(|name| name.starts_with('>')).collect(),
            head: head
                .iter()
                .map(|name| name.trim_start_matches('>'))
                .collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells stay empty.
    pub(crate) fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The text, each line indented by `indent` blanks.
    pub(crate) fn render(&self, paint: Paint, indent: usize) -> String {
        let head: Vec<Cell> = self.head.iter().map(|name| Cell::from(*name)).collect();
        let width = |column: usize| {
            let lines = std::iter::once(&head).chain(&self.rows);
            let cells = lines.filter_map(|line| line.get(column));
            cells
                .map(|cell| cell.text.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut out = String::new();
        let margin = " ".repeat(indent);
        if self.head.iter().any(|name| !name.is_empty()) {
            let line = self.line(&head, &widths, Paint::plain());
            let _ = writeln!(out, "{margin}{}", paint.faint(line));
        }
        for row in &self.rows {
            out.push_str(&margin);
            out.push_str(&self.line(row, &widths, paint));
            out.push('\n');
        }
        out
    }

    fn line(&self, cells: &[Cell], widths: &[usize], paint: Paint) -> String {
        let mut line = String::new();
        let mut owed = 0;
        for ((cell, width), right) in cells.iter().zip(widths).zip(&self.right) {
            let blanks = width - cell.text.chars().count();
            let before = if *right { blanks } else { 0 };
            if cell.text.is_empty() {
                // Blanks are only written before a later cell: lines end without any.
                owed += width + 2;
                continue;
            }
            line.push_str(&" ".repeat(owed + before));
            line.push_str(&match cell.tone {
                Tone::Plain => cell.text.clone(),
                Tone::Good => paint.good(&cell.text).to_string(),
                Tone::Warn => paint.warn(&cell.text).to_string(),
                Tone::Bad => paint.bad(&cell.text).to_string(),
            });
            owed = blanks - before + 2;
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_carry_no_trailing_blanks() {
        let mut table = Table::new(&["NAME", ">COUNT", "STATE"]);
        table.row(["a", "7", "ok"]);
        table.row(["longer", "12,345"]);
        table.row(["", "", "alone"]);
        assert_eq!(
            table.render(Paint::plain(), 1),
            " NAME     COUNT  STATE\n a            7  ok\n longer  12,345\n                 alone\n"
        );
    }

    #[test]
    fn a_table_without_heads_has_no_head_line() {
        let mut table = Table::new(&["", ""]);
        table.row(["a", "b"]);
        assert_eq!(table.render(Paint::plain(), 0), "a  b\n");
    }
}
