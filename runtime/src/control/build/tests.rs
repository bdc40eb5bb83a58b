use std::cell::Cell;

use super::*;
use crate::config::Place;

fn wanted(config: &str) -> ComponentUse {
    ComponentUse {
        component: "rate-limit".to_owned(),
        config: config.into(),
        on_failure: OnFailure::Close,
        candidate: None,
        place: Place::default(),
    }
}

/// How often a component is asked, and how often its answer is taken for another use, when these are built.
fn asked(configs: &[&str], takes: bool) -> (u32, u32) {
    let (asked, again) = (Cell::new(0), Cell::new(0));
    let mut answers = Answers::<()>::default();
    for config in configs {
        let ask = || {
            asked.set(asked.get() + 1);
            let is = crate::component::Kind::Filter;
            let refused = ConfigureError::WrongKind { component: String::new(), expected: is, is };
            if takes { Ok(Arc::new(())) } else { Err(refused) }
        };
        let answered = answer(&mut answers, &wanted(config), ask, |()| {
            again.set(again.get() + 1);
            Arc::new(())
        });
        assert_eq!(answered.is_ok(), takes);
    }
    (asked.get(), again.get())
}

#[test]
fn a_component_is_asked_once_about_each_configuration_on_however_many_routes_it_is() {
    let many = vec![r#"{"burst":1}"#; 1000];
    assert_eq!(asked(&many, true), (1, 999));
    assert_eq!(asked(&["{}", r#"{"burst":1}"#, "{}"], true), (2, 1));
    // Its refusal is told at each place, and asked for once.
    assert_eq!(asked(&many, false), (1, 0));
}
