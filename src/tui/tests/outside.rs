use super::*;
use crate::tui::outside::Outside;

#[test]
fn a_spec_is_edited_where_it_is_a_file_of_this_machine() {
    let mut state = filled();
    assert_eq!(key(&mut state, KeyCode::Char('e')), []);
    let text = screen(&state, 140, 8);
    assert!(text.contains("not on this machine but in https://git.example.com/risk-models"), "{text}");
    for url in ["/srv/risk-models", "file:///srv/risk-models"] {
        let mut here = fleet(vec![summary("fraud", Health::Healthy, false)]);
        here.source.url = url.into();
        update(&mut state, Message::Fleet(Box::new(here)));
        type_line(&mut state, ":model fraud");
        let file = "/srv/risk-models/specs/models/fraud/model.toml".into();
        assert_eq!(key(&mut state, KeyCode::Char('e')), [Command::Outside(Outside::Edit(file))], "{url}");
    }
}

#[test]
fn output_is_read_in_the_pager_with_its_escapes_as_text() {
    let mut state = filled();
    assert_eq!(key(&mut state, KeyCode::Char('v')), []);
    assert!(state.note.contains("a pager opens output"), "{}", state.note);
    type_line(&mut state, ":logs fraud");
    assert_eq!(key(&mut state, KeyCode::Char('v')), []);
    assert!(state.note.contains("nothing was written yet"), "{}", state.note);
    let flowed = Flowed::More(b"epoch 1\tok\n\x1b]0;x\x07loss 0.1\r\n".to_vec());
    let turn = state.log.turn;
    update(&mut state, Message::Log { turn, flowed });
    let read = Outside::Read("epoch 1\tok\n\\u{1b}]0;x\\u{7}loss 0.1\n".into());
    assert_eq!(key(&mut state, KeyCode::Char('v')), [Command::Outside(read)]);
}
