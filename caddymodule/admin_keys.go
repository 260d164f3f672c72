package caddymodule

// listKeys lists the signing keys.
func listKeys(c *adminCall) error { return writeLines(c, c.service().KeyList(), newKeyJSON) }

// rotateKeys makes new signing keys, and lists all of them.
func rotateKeys(c *adminCall) error {
	if err := c.readBody(new(struct{})); err != nil {
		return err
	}
	if err := c.service().RotateKeys(c.Context()); err != nil {
		return err
	}
	return listKeys(c)
}
