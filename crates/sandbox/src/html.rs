//! Pages for persons: plain forms, which a test can fill in as well.

/// A form to sign in with; `fields` and `problem` are HTML.
pub(super) fn sign_in_form(title: &str, user: &str, fields: &str, problem: &str) -> String {
    format!(
        "<h1>{title}</h1><p>{problem}</p><form method=\"post\">{fields}\
         <p><label>User name <input name=\"username\" value=\"{}\"></label></p>\
         <p><label>Password <input name=\"password\" type=\"password\"></label></p>\
         <p><button name=\"answer\" value=\"accept\">Sign in and accept</button> \
         <button name=\"answer\" value=\"decline\">Cancel</button></p></form>",
        escaped(user)
    )
}

/// The field for the code of a device.
pub(super) fn code_field(user_code: &str) -> String {
    format!("<p><label>Code <input name=\"user_code\" value=\"{}\"></label></p>", escaped(user_code))
}

/// A whole page.
pub(super) fn document(content: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Sandbox</title></head><body>{content}</body></html>"
    )
}

/// Text as it may stand in HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
