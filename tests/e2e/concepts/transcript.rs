//! The form of the table's files: rows, commands and expectations. Pure.

/// How a command is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Once,
    Until,
    Fails,
}

#[derive(Debug)]
pub struct Step<'a> {
    pub how: How,
    pub command: &'a str,
    pub expected: Vec<&'a str>,
}

#[derive(Debug)]
pub struct Row<'a> {
    pub concept: &'a str,
    pub steps: Vec<Step<'a>>,
    pub stories: Vec<&'a str>,
}

const MARKS: &[(&str, How)] = &[("$ ", How::Once), ("~ ", How::Until), ("! ", How::Fails)];

/// The rows of one document. Panics on a text out of form: it is part of this program.
pub fn rows(text: &str) -> Vec<Row<'_>> {
    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(concept) = line.strip_prefix("= ") {
            let (steps, stories) = (Vec::new(), Vec::new());
            rows.push(Row {
                concept,
                steps,
                stories,
            });
            continue;
        }
        let Some(row) = rows.last_mut() else {
            assert!(line.starts_with("# "), "a row begins with `= `: {line}");
            continue;
        };
        let mark = MARKS.iter().find(|(mark, _)| line.starts_with(mark));
        if let Some((mark, how)) = mark {
            row.steps.push(Step {
                how: *how,
                command: &line[mark.len()..],
                expected: Vec::new(),
            });
        } else if let Some(story) = line.strip_prefix("@ ") {
            row.stories.push(story);
        } else if let Some(step) = row.steps.last_mut() {
            step.expected.push(line);
        } else {
            assert!(
                line.starts_with("# "),
                "an expectation without a command: {line}"
            );
        }
    }
    rows
}

/// Whether some line of the output holds what is expected.
pub fn prints(output: &str, expected: &str) -> bool {
    let expected = blanks_as_one(expected);
    let parts: Vec<&str> = expected.split('…').collect();
    output
        .lines()
        .any(|line| holds(&blanks_as_one(line), &parts))
}

fn blanks_as_one(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parts occur in the line, in their order.
fn holds(line: &str, parts: &[&str]) -> bool {
    let mut rest = line;
    parts.iter().all(|part| match rest.find(part.trim()) {
        Some(at) => {
            rest = &rest[at + part.trim().len()..];
            true
        }
        None => false,
    })
}
