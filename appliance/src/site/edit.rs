//! Small edits of a site: set, unset, add, delete, each naming one object and its fields.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tandem_control::ErrorObject;
use tandem_control::fields::{self, Field, Takes};
use tandem_control::request::{Edit, EditKind, FieldEdit, FieldOp};

use super::Site;
use crate::params;

impl Site {
    /// Makes one edit. Whether the site still holds together is not asked here.
    ///
    /// # Errors
    /// Naming the object, field and value, what is allowed, and the nearest valid word. The site may be half edited then.
    pub fn edit(&mut self, edit: &Edit) -> Result<(), ErrorObject> {
        let words: Vec<&str> = fields::KINDS.iter().map(|(word, _)| *word).collect();
        if !words.contains(&edit.kind.as_str()) {
            return Err(ErrorObject::unknown_word("kind", &edit.kind, &words));
        }
        if fields::is_named(&edit.kind) && edit.name.is_empty() {
            return Err(ErrorObject::bad_value("name", "", format!("the name of one {}", edit.kind)));
        }
        if edit.fields.is_empty() && edit.edit != EditKind::Delete {
            return Err(ErrorObject::bad_value("fields", "", "at least one field=value"));
        }
        if !edit.fields.is_empty() && edit.edit == EditKind::Delete {
            return Err(ErrorObject::bad_value("fields", &edit.fields[0].field, "nothing; unset takes fields away"));
        }
        match self.table(edit)? {
            "account" => item("account", &mut self.account, edit, fields::ACCOUNT),
            "mapping_gateway" => item("mapping_gateway", &mut self.mapping_gateway, edit, fields::MAPPING),
            "routing_gateway" => item("routing_gateway", &mut self.routing_gateway, edit, fields::ROUTING),
            "rate_template" => item("rate_template", &mut self.rate_template, edit, fields::RATE_TEMPLATE),
            "phone" => item("phone", &mut self.phone, edit, fields::PHONE),
            "bound_number" => item("bound_number", &mut self.bound_number, edit, fields::BOUND),
            "rate_group" => item("rate_group", &mut self.rate_group, edit, fields::GROUP),
            "package" => item("package", &mut self.package, edit, fields::PACKAGE),
            "media" => {
                let mut value = object(&self.media);
                apply("media", &mut value, edit, fields::MEDIA)?;
                self.media = whole("media", value)?;
                Ok(())
            }
            _ => self.edit_params(edit),
        }
    }

    /// The table of an edit's kind; `gateway` is the one that has the name.
    fn table(&self, edit: &Edit) -> Result<&'static str, ErrorObject> {
        if let Some(kind) = fields::kind(&edit.kind) {
            return Ok(kind.table);
        }
        let name = &edit.name;
        if edit.edit == EditKind::Add {
            return Err(ErrorObject::bad_value("kind", &edit.kind, "mapping or routing, for a gateway that is new"));
        }
        match (self.mapping_gateway.contains_key(name), self.routing_gateway.contains_key(name)) {
            (true, false) => Ok("mapping_gateway"),
            (false, true) => Ok("routing_gateway"),
            (true, true) => Err(ErrorObject::bad_value(
                "kind",
                &edit.kind,
                format!("mapping or routing, because both have a gateway {name}"),
            )),
            (false, false) => {
                let names: Vec<&String> = self.mapping_gateway.keys().chain(self.routing_gateway.keys()).collect();
                Err(ErrorObject::not_found("gateway", name, &names))
            }
        }
    }

    fn edit_params(&mut self, edit: &Edit) -> Result<(), ErrorObject> {
        if matches!(edit.edit, EditKind::Add | EditKind::Delete) {
            return Err(ErrorObject::bad_value("edit", edit.edit.as_str(), "set or unset for system parameters"));
        }
        for FieldEdit { field, op, value } in &edit.fields {
            let param = params::find(field).map_err(|_| {
                let names: Vec<&str> = params::TABLE.iter().map(|param| param.name).collect();
                ErrorObject::not_found("system parameter", field, &names)
            })?;
            if *op != FieldOp::Replace {
                return Err(no_list(&format!("params.{}", param.name), *op));
            }
            // Under whichever of its names it was written.
            self.params.retain(|name, _| params::find(name).map(|known| known.name) != Ok(param.name));
            if edit.edit == EditKind::Set {
                self.params.insert(param.name.to_owned(), value.trim().to_owned());
            }
        }
        Ok(())
    }
}

fn object<T: Serialize>(item: &T) -> Map<String, Value> {
    match serde_json::to_value(item) {
        Ok(Value::Object(map)) => map,
        // Every item is a structure.
        _ => Map::new(),
    }
}

fn whole<T: DeserializeOwned>(path: &str, value: Map<String, Value>) -> Result<T, ErrorObject> {
    serde_json::from_value(Value::Object(value)).map_err(|error| {
        let text = error.to_string();
        match text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
            Some(field) => ErrorObject::bad_value(format!("{path}.{field}"), "", "a value; it cannot be left out"),
            None => ErrorObject::bad_value(path, text, "an object of this kind"),
        }
    })
}

fn item<T: Serialize + DeserializeOwned>(
    table: &'static str,
    items: &mut BTreeMap<String, T>,
    edit: &Edit,
    fields: &[Field],
) -> Result<(), ErrorObject> {
    let path = format!("{table}.{}", edit.name);
    let mut value = match (items.get(&edit.name), edit.edit) {
        (Some(_), EditKind::Add) => {
            return Err(ErrorObject::bad_value(
                "name",
                &edit.name,
                format!("a name that no {table} has; set changes it"),
            ));
        }
        (None, EditKind::Add) => Map::new(),
        (Some(item), _) => object(item),
        (None, _) => {
            let names: Vec<&String> = items.keys().collect();
            return Err(ErrorObject::not_found(table, &edit.name, &names));
        }
    };
    if edit.edit == EditKind::Delete {
        items.remove(&edit.name);
        return Ok(());
    }
    apply(&path, &mut value, edit, fields)?;
    items.insert(edit.name.clone(), whole(&path, value)?);
    Ok(())
}

fn apply(path: &str, value: &mut Map<String, Value>, edit: &Edit, fields: &[Field]) -> Result<(), ErrorObject> {
    for one in &edit.fields {
        let Some((field, takes)) = fields.iter().find(|(name, _)| *name == one.field) else {
            let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            return Err(ErrorObject::unknown_word(&format!("field of {path}"), &one.field, &names));
        };
        let path = format!("{path}.{field}");
        let (parent, leaf) = match field.split_once('.') {
            None => (&mut *value, *field),
            Some((parent, leaf)) => {
                let parent = value.entry(parent).or_insert_with(|| Value::Object(Map::new()));
                match parent {
                    Value::Object(map) => (map, leaf),
                    _ => return Err(ErrorObject::bad_value(path, &one.value, "a field of an object")),
                }
            }
        };
        // An empty value is the default, whatever the field takes.
        if edit.edit == EditKind::Unset || (one.value.is_empty() && one.op == FieldOp::Replace) {
            parent.shift_remove(leaf);
            continue;
        }
        let read = read(&path, &one.value, *takes)?;
        let next = match one.op {
            FieldOp::Replace => read,
            op if takes.is_list() => merge(parent.get(leaf), read, op, &path, &one.value)?,
            op => return Err(no_list(&path, op)),
        };
        parent.insert(leaf.to_owned(), next);
    }
    Ok(())
}

fn no_list(path: &str, op: FieldOp) -> ErrorObject {
    ErrorObject::bad_value(path, op.as_str(), "field=value; += and -= are for lists")
}

fn read(path: &str, text: &str, takes: Takes) -> Result<Value, ErrorObject> {
    let bad = |value: &str| ErrorObject::bad_value(path, value, takes.allowed());
    let number = |text: &str, min: i64, max: i64| {
        text.trim().parse::<i64>().ok().filter(|n| (min..=max).contains(n)).map(Value::from).ok_or_else(|| bad(text))
    };
    let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
    Ok(match takes {
        Takes::Text => Value::from(text),
        Takes::Flag => match text {
            "true" | "yes" | "on" => Value::Bool(true),
            "false" | "no" | "off" => Value::Bool(false),
            _ => return Err(bad(text)),
        },
        Takes::Number(min, max) => number(text, min, max)?,
        Takes::Texts => parts().map(Value::from).collect(),
        Takes::Numbers(min, max) => parts().map(|part| number(part, min, max)).collect::<Result<_, _>>()?,
        Takes::Shares => {
            let mut map = Map::new();
            for part in parts() {
                let (key, share) = part.split_once(':').ok_or_else(|| bad(part))?;
                map.insert(key.trim().to_owned(), number(share, 0, i64::from(u32::MAX))?);
            }
            Value::Object(map)
        }
    })
}

/// A list that gets, or loses, the elements of another.
fn merge(old: Option<&Value>, edit: Value, op: FieldOp, path: &str, text: &str) -> Result<Value, ErrorObject> {
    let missing =
        |what: &str| ErrorObject::bad_value(path, text, format!("something that is in the list; {what} is not"));
    match (old.cloned(), edit) {
        (old, Value::Array(edit)) => {
            let mut list = match old {
                Some(Value::Array(list)) => list,
                _ => Vec::new(),
            };
            for one in edit {
                let at = list.iter().position(|known| *known == one);
                match (op, at) {
                    (FieldOp::Remove, Some(at)) => {
                        list.remove(at);
                    }
                    (FieldOp::Remove, None) => return Err(missing(&one.to_string())),
                    (_, None) => list.push(one),
                    (_, Some(_)) => {}
                }
            }
            Ok(Value::Array(list))
        }
        (old, Value::Object(edit)) => {
            let mut map = match old {
                Some(Value::Object(map)) => map,
                _ => Map::new(),
            };
            for (key, share) in edit {
                if op == FieldOp::Remove {
                    map.shift_remove(&key).ok_or_else(|| missing(&key))?;
                } else {
                    map.insert(key, share);
                }
            }
            Ok(Value::Object(map))
        }
        (_, edit) => Ok(edit),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        AccountSite, BoundSite, FilterSite, GroupSite, MappingSite, MediaSite, PackageSite, PhoneSite, RoutingSite,
        SwitchSite, TimeoutsSite,
    };
    use super::*;

    fn site() -> Site {
        Site::parse(
            "[account.acme]\nkind = \"customer\"\n[account.carrier]\nkind = \"vendor\"\n\
             [mapping_gateway.acme]\naccount = \"acme\"\nsources = [\"192.0.2.1\"]\n\
             [routing_gateway.v1]\naccount = \"carrier\"\nremotes = [\"192.0.2.9\"]\nprefixes = [\"1\", \"44\"]\n",
        )
        .unwrap()
    }

    /// `set gateway acme capacity=200` as the command line sends it.
    fn edit(line: &str) -> Edit {
        let mut words = line.split(' ');
        let edit = match words.next().unwrap() {
            "set" => EditKind::Set,
            "add" => EditKind::Add,
            "unset" => EditKind::Unset,
            _ => EditKind::Delete,
        };
        let kind = words.next().unwrap().to_owned();
        let name = if fields::is_named(&kind) { words.next().unwrap_or("").to_owned() } else { String::new() };
        let fields = words
            .map(|word| {
                let (field, value) = word.split_once('=').unwrap_or((word, ""));
                let (field, op) = match (field.strip_suffix('+'), field.strip_suffix('-')) {
                    (Some(field), _) => (field, FieldOp::Append),
                    (_, Some(field)) => (field, FieldOp::Remove),
                    _ => (field, FieldOp::Replace),
                };
                FieldEdit { field: field.to_owned(), op, value: value.to_owned() }
            })
            .collect();
        Edit { edit, kind, name, fields }
    }

    fn done(line: &str) -> Site {
        let mut site = site();
        site.edit(&edit(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
        site
    }

    fn refused(line: &str) -> String {
        site().edit(&edit(line)).unwrap_err().message
    }

    #[test]
    fn fields_are_set_and_unset() {
        let changed = done("set gateway acme capacity=200 callee_prefixes.allow=44,49 locked=true");
        let acme = &changed.mapping_gateway["acme"];
        assert_eq!((acme.capacity, acme.locked), (Some(200), true));
        assert_eq!(acme.callee_prefixes.allow, ["44", "49"]);
        assert_eq!(done("set gateway v1 switch.ring=yes").routing_gateway["v1"].switch.ring, Some(true));
        assert_eq!(done("set routing v1 weight=").routing_gateway["v1"].weight, 100);
        assert_eq!(done("unset gateway v1 prefixes").routing_gateway["v1"].prefixes, Vec::<String>::new());
        assert_eq!(done("set media prohibited=10.0.0.0/8").media.prohibited, ["10.0.0.0/8"]);
        let shares =
            done("set mapping acme percent_routing=44:30,49:70").mapping_gateway["acme"].percent_routing.clone();
        assert_eq!(shares, BTreeMap::from([("44".to_owned(), 30), ("49".to_owned(), 70)]));
    }

    #[test]
    fn lists_gain_and_lose_elements() {
        assert_eq!(done("set gateway v1 prefixes+=49,1").routing_gateway["v1"].prefixes, ["1", "44", "49"]);
        assert_eq!(done("set gateway v1 prefixes-=1").routing_gateway["v1"].prefixes, ["44"]);
        assert!(refused("set gateway v1 prefixes-=7").contains("\"7\" is not"));
        assert!(refused("set gateway v1 weight+=7").contains("for lists"));
    }

    #[test]
    fn objects_are_added_and_deleted() {
        let added = done("add routing v2 account=carrier remotes=192.0.2.10");
        assert_eq!(added.routing_gateway["v2"].remotes, ["192.0.2.10"]);
        assert_eq!(added.routing_gateway["v2"].weight, 100);
        assert!(done("delete gateway v1").routing_gateway.is_empty());
        assert!(refused("add routing v1 account=x").contains("no routing_gateway has"));
        assert!(refused("add gateway v3 account=x").contains("mapping or routing"));
        assert!(refused("add routing v2 account=carrier").contains("routing_gateway.v2.remotes"));
        assert!(refused("delete gateway v1 weight=1").contains("unset"));
    }

    #[test]
    fn parameters_are_set_under_any_of_their_names() {
        let changed = done("set param SS_SIP_SESSION_TTL=700");
        assert_eq!(changed.params["SS_SIP_SESSION_TTL"], "700");
        let mut changed = changed;
        changed.edit(&edit("unset param SS_SIP_SESSION_TTL")).unwrap();
        assert!(changed.params.is_empty());
        assert!(refused("set param SS_SIP_SESSION_TLT=1").contains("did you mean SS_SIP_SESSION_TTL?"));
        assert!(refused("add param SS_SIP_SESSION_TTL=1").contains("set or unset"));
    }

    #[test]
    fn a_mistake_names_object_field_value_and_what_is_allowed() {
        assert_eq!(
            refused("set gateway acme capacity=many"),
            "mapping_gateway.acme.capacity is \"many\"; allowed is a whole number from 0 to 4294967295"
        );
        assert!(refused("set gateway acme capcity=1").ends_with("did you mean capacity?"));
        assert_eq!(refused("set gateway acem capacity=1"), "no gateway is named \"acem\"; did you mean acme?");
        assert!(refused("set gatway acme capacity=1").ends_with("did you mean gateway?"));
        assert!(refused("set gateway acme locked=perhaps").contains("true or false"));
        assert!(refused("set gateway acme").contains("field=value"));
        assert!(refused("unset gateway acme account").contains("mapping_gateway.acme.account"));
        let mut both = site();
        let acme = both.routing_gateway["v1"].clone();
        both.routing_gateway.insert("acme".to_owned(), acme);
        assert!(both.edit(&edit("set gateway acme capacity=1")).unwrap_err().message.contains("both"));
    }

    /// The table of the control room has every field of the structures, and nothing else.
    #[test]
    fn the_table_of_fields_is_that_of_the_structures() {
        let list = || vec!["1".to_owned()];
        let filter = || FilterSite { allow: list(), deny: list() };
        let acme = site().mapping_gateway["acme"].clone();
        let v1 = site().routing_gateway["v1"].clone();
        let text = || "x".to_owned();
        let mapping = MappingSite {
            locked: true,
            priority: 1,
            capacity: Some(1),
            cps: Some(1),
            call_level: 1,
            rewrite_caller: text(),
            rewrite_callee: text(),
            percent_routing: BTreeMap::from([("1".to_owned(), 1)]),
            caller_prefixes: filter(),
            callee_prefixes: filter(),
            caller_lengths: vec![1],
            callee_lengths: vec![1],
            routing_groups: filter(),
            media: text(),
            nat: text(),
            latch: text(),
            media_check: text(),
            max_duration_s: vec![1],
            timeout_call_proceeding_s: 1,
            callee_from: text(),
            caller_from: text(),
            failed_sip_code: text(),
            replace_before_switch: true,
            first_policy: text(),
            second_policy: text(),
            min_profit_percent: Some(1),
            max_second_rate: text(),
            pass_headers: list(),
            phone_billing: true,
            bound_number_billing: true,
            no_billing_to_phone: text(),
            billing_prefixes: list(),
            account: acme.account,
            sources: acme.sources,
        };
        let routing = RoutingSite {
            account: v1.account,
            remotes: v1.remotes,
            local: text(),
            prefixes: list(),
            prefix_style: text(),
            priority: 1,
            weight: 1,
            capacity: Some(1),
            cps: Some(1),
            locked: true,
            valid_from: text(),
            valid_to: text(),
            groups: list(),
            rewrite_caller: text(),
            rewrite_callee: text(),
            caller_prefixes: filter(),
            callee_prefixes: filter(),
            caller_lengths: vec![1],
            callee_lengths: vec![1],
            check_rate: true,
            least_cost: true,
            clearing_use_callout: true,
            min_profit_percent: Some(1),
            max_second_rate: text(),
            protect: true,
            switch: SwitchSite {
                ring: Some(true),
                sdp: Some(true),
                rtp: Some(true),
                busy: Some(true),
                error_codes: vec![1],
                error_code: true,
            },
            timeouts: TimeoutsSite { invite: 1, trying: 1, session_progress: 1, session_progress_sdp: 1, ringing: 1 },
            media: text(),
            nat: text(),
            latch: text(),
            media_check: text(),
            send_asserted: true,
            pass_headers: list(),
            billing_prefixes: list(),
        };
        let phone = PhoneSite {
            account: text(),
            locked: true,
            call_level: 1,
            callee_billing: true,
            no_billing_to_phone: text(),
            monthly_max: text(),
            rate_group: text(),
            monthly_rent: text(),
            monthly_min: text(),
        };
        let package = PackageSite {
            rent_fee: text(),
            rent_type: text(),
            rent_period: 2,
            partial: true,
            min_consumption: text(),
            lower_consumption: text(),
            gift_money: text(),
            gifts: list(),
        };
        let account = AccountSite {
            kind: text(),
            display_name: text(),
            rate_group: text(),
            opening: text(),
            credit_limit: text(),
            locked: true,
            valid_until: text(),
            bill_until: text(),
            agent: text(),
            cancelled: true,
            monthly_max: text(),
            alarm_below: text(),
            private_rate_group: text(),
            periods: list(),
            valid_days: 1,
            batch: text(),
        };
        same(&account, fields::ACCOUNT);
        same(&mapping, fields::MAPPING);
        same(&routing, fields::ROUTING);
        same(&phone, fields::PHONE);
        same(&package, fields::PACKAGE);
        same(&BoundSite { account: text() }, fields::BOUND);
        same(&GroupSite { split_sections: true }, fields::GROUP);
        same(&MediaSite { prohibited: list() }, fields::MEDIA);
    }

    #[track_caller]
    fn same<T: Serialize>(item: &T, fields: &[Field]) {
        let mut found = Vec::new();
        for (key, value) in object(item) {
            match value {
                Value::Object(map) if key != "percent_routing" => {
                    found.extend(map.into_iter().map(|(leaf, value)| (format!("{key}.{leaf}"), value)));
                }
                value => found.push((key, value)),
            }
        }
        let mut names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        let mut table: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        table.sort_unstable();
        assert_eq!(names, table);
        for (name, value) in &found {
            let takes = fields.iter().find(|(field, _)| field == name).unwrap().1;
            let fits = match takes {
                Takes::Text => value.is_string(),
                Takes::Flag => value.is_boolean(),
                Takes::Number(..) => value.is_i64(),
                Takes::Texts => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
                Takes::Numbers(..) => value.as_array().is_some_and(|list| list.iter().all(Value::is_i64)),
                Takes::Shares => value.is_object(),
            };
            assert!(fits, "{name} = {value} is not {takes:?}");
        }
    }
}
