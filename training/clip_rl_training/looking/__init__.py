"""Where to look next: looks at videos kept on disk, policies that choose among them, and what each is worth."""
