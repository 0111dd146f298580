"""One file per resource: parse, call a service, choose a status. No rule, no SQL, no HTTPException."""
