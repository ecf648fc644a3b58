def add_command(commands, common):
    p=commands.add_parser("info",parents=[common]); p.set_defaults(run=lambda a:0)
