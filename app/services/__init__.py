"""The rules. Each function takes a session first, raises errors of `app.errors`, and answers with contract views."""
