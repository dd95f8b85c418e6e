//! Who may do what: role-based access control over an index of the stored roles and bindings.
//!
//! Decisions are pure ([`Index::decide`]); the registry keeps the index current after each write. There is no deny
//! rule: what nobody allows is refused. Members of `system:masters` may do everything.

mod index;
mod rule;

pub use index::{Decision, Index};
pub use rule::{Rule, compact, missing, quoted};

use crate::api::{ApiError, call::User, name::Gvr};

/// This group is above all rules.
pub const MASTERS: &str = "system:masters";

/// One thing somebody wants to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// As RBAC spells it: `get`, `deletecollection`, `approve` …; the lower-case HTTP method for a path.
    pub verb: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    /// Empty for cluster scope and for all namespaces.
    pub namespace: &'a str,
    /// Empty for collections.
    pub name: &'a str,
    /// A path that is no resource, such as `/healthz`; the fields above except `verb` are empty then.
    pub path: Option<&'a str>,
}

/// The refusal a client sees. `reason` may be empty.
#[must_use]
pub fn refusal(user: &User, wanted: &Attributes<'_>, reason: &str) -> ApiError {
    let name = &user.name;
    let verb = wanted.verb;
    let reason = match reason {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    if let Some(path) = wanted.path {
        let message = format!("forbidden: User \"{name}\" cannot {verb} path \"{path}\"{reason}");
        return ApiError::new(403, "Forbidden", message);
    }
    let resource = match wanted.subresource {
        "" => wanted.resource.to_owned(),
        sub => format!("{}/{sub}", wanted.resource),
    };
    let scope = match wanted.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace \"{namespace}\""),
    };
    let group = wanted.group;
    let why = format!(
        "User \"{name}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {scope}{reason}"
    );
    let gvr = Gvr {
        group: group.to_owned().into(),
        version: wanted.version.to_owned().into(),
        resource: wanted.resource.to_owned().into(),
    };
    ApiError::forbidden(&gvr, wanted.name, &why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_upstream() {
        let user = User::component("jane", &[]);
        let list = Attributes {
            verb: "list",
            resource: "pods",
            namespace: "default",
            ..Attributes::default()
        };
        let log = Attributes {
            verb: "get",
            resource: "pods",
            subresource: "log",
            name: "x",
            ..Attributes::default()
        };
        let path = Attributes {
            verb: "get",
            path: Some("/x"),
            ..Attributes::default()
        };
        let cases = [
            (
                list,
                "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
            ),
            (
                log,
                "pods \"x\" is forbidden: User \"jane\" cannot get resource \"pods/log\" in API group \"\" at the cluster scope",
            ),
            (path, "forbidden: User \"jane\" cannot get path \"/x\""),
        ];
        for (wanted, expected) in cases {
            assert_eq!(refusal(&user, &wanted, "").message, expected);
        }
    }
}
