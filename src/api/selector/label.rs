//! Label selectors, made from text or from a `LabelSelector` document.

use crate::api::label::{check_key, check_value};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as Spec;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equals,
    /// `==`
    DoubleEquals,
    /// `!=`: holds when the label is absent.
    NotEquals,
    In,
    /// Holds when the label is absent.
    NotIn,
    Exists,
    DoesNotExist,
    /// Both sides are integers.
    GreaterThan,
    LessThan,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    /// Sorted, without duplicates.
    pub values: Vec<String>,
}

/// All requirements must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    /// Sorted by key.
    requirements: Vec<Requirement>,
    /// An absent selector document selects nothing, an empty one everything.
    is_nothing: bool,
}

/// Where labels can be looked up.
pub trait Labels {
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

impl<T: Labels> Labels for Option<T> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref().and_then(|labels| labels.label(key))
    }
}

impl<T: Labels> Labels for &T {
    fn label(&self, key: &str) -> Option<&str> {
        (*self).label(key)
    }
}

impl LabelSelector {
    pub fn everything() -> LabelSelector {
        LabelSelector {
            requirements: Vec::new(),
            is_nothing: false,
        }
    }

    pub fn nothing() -> LabelSelector {
        LabelSelector {
            is_nothing: true,
            ..LabelSelector::everything()
        }
    }

    /// The text of a `labelSelector` parameter. The error is upstream's text.
    pub fn parse(text: &str) -> Result<LabelSelector, String> {
        super::label_text::parse(text).map(LabelSelector::of)
    }

    /// Labels that must be equal: the selector of a Service or ReplicationController.
    pub fn from_map(labels: &BTreeMap<String, String>) -> LabelSelector {
        let equals = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.clone()],
        };
        LabelSelector::of(labels.iter().map(equals).collect())
    }

    /// The selector of a Deployment, NetworkPolicy …; `None` selects nothing. Fails on malformed requirements.
    pub fn from_spec(spec: Option<&Spec>) -> Result<LabelSelector, String> {
        let Some(spec) = spec else {
            return Ok(LabelSelector::nothing());
        };
        let mut requirements = spec
            .match_labels
            .as_ref()
            .map(|labels| LabelSelector::from_map(labels).requirements)
            .unwrap_or_default();
        for expression in spec.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(format!(
                        "\"{other}\" is not a valid label selector operator"
                    ));
                }
            };
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        Ok(LabelSelector::of(requirements))
    }

    fn of(mut requirements: Vec<Requirement>) -> LabelSelector {
        requirements.sort_by(|left, right| left.key.cmp(&right.key));
        LabelSelector {
            requirements,
            is_nothing: false,
        }
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.is_nothing
    }

    pub fn matches(&self, labels: &impl Labels) -> bool {
        let holds = |requirement: &Requirement| requirement.matches(labels);
        !self.is_nothing && self.requirements.iter().all(holds)
    }
}

impl Requirement {
    /// Refuses malformed keys and values, and numbers of values that do not fit the operator.
    pub fn new(
        key: &str,
        operator: Operator,
        mut values: Vec<String>,
    ) -> Result<Requirement, String> {
        // `<nil>` stands where upstream prints the field the key came from, and it has none here.
        let wrong = check_key(key);
        if !wrong.is_empty() {
            return Err(invalid("<nil>", key, &wrong.join("; ")));
        }
        match (operator, values.as_slice()) {
            (Operator::In | Operator::NotIn, []) => {
                let why = "for 'in', 'notin' operators, values set can't be empty";
                return Err(format!("values: Invalid value: []: {why}"));
            }
            (Operator::Exists | Operator::DoesNotExist, [_, ..]) => {
                let why = "values set must be empty for exists and does not exist";
                return Err(format!("values: Invalid value: {values:?}: {why}"));
            }
            (Operator::GreaterThan | Operator::LessThan, [value])
                if value.parse::<i64>().is_err() =>
            {
                let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                return Err(invalid("values[0]", value, why));
            }
            _ => {}
        }
        values.sort_unstable();
        values.dedup();
        for (index, value) in values.iter().enumerate() {
            let wrong = check_value(value);
            if !wrong.is_empty() {
                let place = format!("values[{index}][{key}]");
                return Err(invalid(&place, value, &wrong.join("; ")));
            }
        }
        Ok(Requirement {
            key: key.to_owned(),
            operator,
            values,
        })
    }

    pub fn matches(&self, labels: &impl Labels) -> bool {
        let has = |value: &str| self.values.iter().any(|wanted| wanted == value);
        match (self.operator, labels.label(&self.key)) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, Some(value)) => has(value),
            (Operator::NotEquals | Operator::NotIn, Some(value)) => !has(value),
            (Operator::Exists, value) => value.is_some(),
            (Operator::DoesNotExist, value) => value.is_none(),
            (Operator::GreaterThan, Some(value)) => self.compare(value, |left, right| left > right),
            (Operator::LessThan, Some(value)) => self.compare(value, |left, right| left < right),
            (Operator::NotEquals | Operator::NotIn, None) => true,
            (_, None) => false,
        }
    }

    fn compare(&self, value: &str, holds: fn(i64, i64) -> bool) -> bool {
        match (
            value.parse(),
            self.values.first().map(|value| value.parse()),
        ) {
            (Ok(left), Some(Ok(right))) => holds(left, right),
            _ => false,
        }
    }
}

fn invalid(place: &str, value: &str, why: &str) -> String {
    format!("{place}: Invalid value: {value:?}: {why}")
}

/// As `status.selector` of a scale shows it, and as `parse` reads it.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requirement { key, values, .. } = self;
        let values = values.join(",");
        match self.operator {
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}
