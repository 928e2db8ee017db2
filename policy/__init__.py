"""Who may play and who may record: model, loader, engine, editor and the command line."""
