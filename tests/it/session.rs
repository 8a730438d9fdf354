//! Is the picture of the README made of the recorded session?

use std::fs;

use crate::session_picture::{draw, picture, recording};

#[test]
fn the_picture_is_made_of_the_recording() {
    let cast = fs::read_to_string(recording()).unwrap();
    let svg = fs::read_to_string(picture()).unwrap();
    assert_eq!(svg, draw(&cast), "UPDATE_SESSION=1 cargo test --test api_server session makes it again");
}

#[test]
fn the_picture_is_whole_where_nothing_moves() {
    let svg = draw(&fs::read_to_string(recording()).unwrap());
    let (style, drawn) = svg.split_once("</style>").unwrap();
    assert!(style.contains("prefers-reduced-motion"));
    // Only the animations hide anything.
    let hidden = style.lines().filter(|line| line.contains("opacity: 0"));
    assert!(hidden.clone().all(|line| line.starts_with("@keyframes")));
    assert!(!drawn.contains("opacity"), "{drawn}");
    for said in ["webservise", "is invalid", "changes 3", "role/gitlab-registry"] {
        assert!(drawn.contains(said), "{said}");
    }
}
