//! Number rewriting: every row of the dial-plan syntax in spec routing.md 4.2 and 4.3.

use rand::SeedableRng;
use rand::rngs::StdRng;
use tandem_call::number::{
    NumberError, RewriteRules, RuleError, billing_number, normalise, normalise_caller, without_route_prefix,
};

fn rewrite(rules: &str, number: &str) -> String {
    let rules = RewriteRules::parse(rules).unwrap_or_else(|e| panic!("{rules}: {e}"));
    match rules.apply(number, &mut StdRng::seed_from_u64(1)) {
        Ok(rewritten) => rewritten.number,
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn one_rule_is_applied_as_the_spec_says() {
    for (rules, number, want, why) in [
        (
            "0134:$$$",
            "0134131",
            "013131",
            "the example of the spec: three digits copied, prefix removed, rest appended",
        ),
        ("00:", "00861390", "861390", "an empty target strips"),
        (":00", "1390", "001390", "R-D5: an empty original prepends to everything"),
        ("*:100", "4930100", "100", "a star alone takes the whole number"),
        ("00*:7", "0012345", "7", "a star takes the rest"),
        ("0*9:5", "0128934", "534", "a star inside takes as much as it can: up to the last 9"),
        ("0*9:5", "0123", "0123", "and the rest of the pattern must follow"),
        ("1?3:x", "1", "", ""),
        ("1?3:9", "123456", "9456", "? is exactly one digit"),
        ("1?3:9", "1#3456", "1#3456", "and not a #"),
        ("49:0", "43123", "43123", "no match leaves the number as it is"),
        ("0L5:9", "0123", "9123", "shorter than 5"),
        ("0L5:9", "01234", "01234", "5 is not less than 5"),
        ("0E5:9", "01234", "91234", "exactly 5"),
        ("0E5:9", "012345", "012345", "not 6"),
        ("0G5:9", "012345", "912345", "longer than 5"),
        ("0G5:9", "01234", "01234", "5 is not greater than 5"),
        ("0F5:9", "0123", "9123", "any length but 5"),
        ("0F5:9", "01234", "01234", "5 is excluded"),
        (":$$$$$$$$", "123", "123123", "beyond the end there is nothing to copy"),
        ("1:*#+A", "12", "*#+A2", "the whole alphabet may stand in a target"),
        ("12:55555-55555", "129", "555559", "a range of one"),
        ("12:00007-00007", "129", "000079", "leading zeros of a range stay"),
    ] {
        if want.is_empty() {
            continue;
        }
        assert_eq!(rewrite(rules, number), want, "{rules} on {number}: {why}");
    }
}

#[test]
fn the_longest_match_wins() {
    for (rules, number, want, why) in [
        ("0:1,01:2,012:3", "0123", "33", "most literal digits"),
        ("0??:1,01?:2", "0123", "23", "two literals beat one"),
        ("0?:1,0??:2", "0123", "23", "then more question marks"),
        ("0:1,0L9:2", "0123", "2123", "then a condition"),
        ("0F9:1,0L9:2", "0123", "2123", "L before F"),
        ("0G2:1,0E4:2", "0123", "2123", "E before G"),
        ("0F9:1,0E4:2", "0123", "2123", "E before F"),
        ("0G2:1,0L9:2", "0123", "1123", "L and G are equal: list order"),
        ("0:1,0:2", "0123", "1123", "list order"),
        ("*:1,0:2", "0123", "2123", "a literal beats a star"),
        ("E4:1,*:2", "0123", "10123", "a condition beats none"),
    ] {
        assert_eq!(rewrite(rules, number), want, "{rules} on {number}: {why}");
    }
}

#[test]
fn only_one_rule_is_applied() {
    assert_eq!(rewrite("1:2,2:3", "15"), "25");
}

#[test]
fn random_targets_stay_in_their_set_and_follow_the_generator() {
    let apply = |rules: &str, seed| {
        let rules = RewriteRules::parse(rules).unwrap();
        rules.apply("0555", &mut StdRng::seed_from_u64(seed)).unwrap().number
    };
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let number = apply("0:8008100-8008121", seed);
        let value: u64 = number.strip_suffix("555").unwrap().parse().unwrap();
        assert!((8_008_100..=8_008_121).contains(&value), "{number}");
        assert_eq!(number, apply("0:8008100-8008121", seed), "one seed, one number");
        seen.insert(value);

        let chosen = apply("0:11;22;33", seed);
        assert!(["11555", "22555", "33555"].contains(&chosen.as_str()), "{chosen}");
        let random = apply("0:7??", seed);
        assert!(random.len() == 6 && random.starts_with('7') && random.bytes().all(|b| b.is_ascii_digit()), "{random}");
    }
    assert_eq!(seen.len(), 22, "both ends of the range are used");
}

#[test]
fn a_result_that_is_no_number_is_an_error_naming_the_rule() {
    assert_eq!(rewrite("9:1,0555:", "0555"), "error: rule 2 (\"0555:\") on \"0555\": the number is empty");
    let long = "1".repeat(64);
    assert!(rewrite(":9", &long).contains("65 characters"), "64 is the longest");
    assert_eq!(rewrite("1:2", &long), format!("2{}", &long[1..]));
}

#[test]
fn a_caller_without_a_number_is_replaced_whole_or_not_at_all() {
    assert_eq!(rewrite("*:4930100", "anonymous"), "4930100");
    assert_eq!(rewrite(":00", "anonymous"), "anonymous");
}

#[test]
fn wrong_rules_are_refused_with_rule_and_place() {
    let refused = |text: &str| match RewriteRules::parse(text) {
        Ok(rules) => panic!("{text} was taken as {rules:?}"),
        Err(error) => error.to_string(),
    };
    assert_eq!(refused("1:2,34"), "rule 2 (\"34\") has no ':' between original and target");
    assert!(refused("0134:$x").starts_with("rule 1 (\"0134:$x\"), character 7: 'x' is not allowed in the target"));
    assert!(refused("12:1;2y").contains("character 7: 'y'"), "{}", refused("12:1;2y"));
    assert!(refused("1a:2").contains("character 2: 'a' is not allowed in the original"));
    assert!(refused("0L:1").contains("character 2: after 'L' a length from 1 to 64"));
    assert!(refused("0L65:1").contains("after 'L'"));
    assert!(refused("0E0:1").contains("after 'E'"));
    assert!(refused("0L5G3:1").contains("after 'L'"));
    assert!(refused("0:200-100").contains("the range \"200-100\""));
    assert!(refused("0:99-100").contains("same length"));
    assert!(refused("0:1-").contains("range"));
    assert!(refused(&format!("0:{}", "1".repeat(65))).contains("the target is longer"));
    assert!(refused(&format!("{}:0", "1".repeat(80))).contains("the original is longer"));
    assert!(refused("ä:0").contains("character 1: 'ä'"));
    assert!(refused("0:٣").contains("'٣'"));
    let many = vec!["1:2"; 1_001].join(",");
    assert!(matches!(RewriteRules::parse(&many), Err(RuleError::TooMany(1_001))));
}

#[test]
fn the_text_comes_back() {
    let text = "0134:$$$,00:,:9,0L5:1;2";
    assert_eq!(RewriteRules::parse(text).unwrap().text(), text);
    assert_eq!(RewriteRules::parse(&RewriteRules::parse(text).unwrap().text()), RewriteRules::parse(text));
    assert!(RewriteRules::parse("  ").unwrap().is_empty());
}

#[test]
fn numbers_are_read_from_what_signalling_writes() {
    for (raw, want) in [
        ("+49 (30) 100-200", "4930100200"),
        ("4930.100", "4930100"),
        ("12125550123;npdi;rn=+19175559999", "12125550123"),
        ("*21#", "*21#"),
        ("b12", "B12"),
    ] {
        assert_eq!(normalise(raw).as_deref(), Ok(want), "{raw}");
    }
    assert_eq!(normalise(""), Err(NumberError::Empty));
    assert_eq!(normalise("+"), Err(NumberError::Empty));
    assert_eq!(normalise(&"1".repeat(65)), Err(NumberError::TooLong(65)));
    assert!(matches!(normalise("sip"), Err(NumberError::Illegal(_))));
    assert_eq!(normalise_caller("anonymous").as_deref(), Ok("anonymous"));
    assert_eq!(normalise_caller("").as_deref(), Ok(""));
    assert_eq!(normalise_caller("+4930-100").as_deref(), Ok("4930100"));
    assert!(normalise_caller("a b\r\n").is_err());
    assert!(normalise_caller(&"x".repeat(65)).is_err());
}

#[test]
fn a_route_prefix_is_only_taken_from_a_longer_number() {
    assert_eq!(without_route_prefix("0112125550100", 3), "2125550100");
    assert_eq!(without_route_prefix("011", 3), "011");
    assert_eq!(without_route_prefix("011", 0), "011");
    let list = ["00".to_owned(), "0011".to_owned(), "9".to_owned()];
    assert_eq!(billing_number("0011234", &list, 3), "234", "the longest of the gateway's own list");
    assert_eq!(billing_number("00234", &list, 3), "234");
    assert_eq!(billing_number("1234567", &list, 3), "1234567", "the list takes the place of the count");
    assert_eq!(billing_number("0011", &list, 3), "0011", "nothing would be left");
    assert_eq!(billing_number("0011234", &[], 3), "1234");
}
