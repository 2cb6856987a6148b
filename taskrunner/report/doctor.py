"""What may keep taskrunner from doing its work on this host, each with its cure.

    checkup      all of it, for a person
    alive        the worst of it on one line, for a monitoring plugin

It only looks: it writes nothing, and whatever it looks at may be missing, locked or broken.
"""
