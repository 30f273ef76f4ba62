package github

func (c *call) getMe() (answer, error) {
	if c.who.user == nil {
		return answer{}, failure(401, "Requires authentication")
	}
	if c.who.install != nil {
		return answer{}, forbidden("Resource not accessible by integration")
	}
	return ok(c.s.fullUserJSON(c.who.user))
}

func (c *call) getUser() (answer, error) {
	u, err := c.s.user(c.r.PathValue("login"))
	if err != nil {
		return answer{}, notFound()
	}
	return ok(c.s.fullUserJSON(u))
}

func (c *call) getUserByID() (answer, error) {
	id, err := c.number("id")
	if err != nil {
		return answer{}, err
	}
	for _, u := range c.s.users {
		if u.ID == id {
			return ok(c.s.fullUserJSON(u))
		}
	}
	return answer{}, notFound()
}
