# Who may speak with whom: the world -> door (443, 80) -> service (port) -> database, cache, HTTPS. Nothing else.

resource "aws_security_group" "door" {
  #checkov:skip=CKV2_AWS_5:The load balancer has it, in another module.
  name        = "${var.name}-door"
  description = "Load balancer of Amplify Chat"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-door" }
}

resource "aws_security_group" "service" {
  #checkov:skip=CKV2_AWS_5:The service has it, in another module.
  name        = "${var.name}-service"
  description = "Tasks of Amplify Chat"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-service" }
}

resource "aws_security_group" "database" {
  #checkov:skip=CKV2_AWS_5:The database has it, in another module.
  count = var.database ? 1 : 0

  name        = "${var.name}-database"
  description = "PostgreSQL of Amplify Chat"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-database" }
}

resource "aws_security_group" "cache" {
  #checkov:skip=CKV2_AWS_5:The cache has it, in another module.
  count = var.cache ? 1 : 0

  name        = "${var.name}-cache"
  description = "Valkey of Amplify Chat"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-cache" }
}

resource "aws_vpc_security_group_ingress_rule" "https" {
  for_each = toset(var.allowed_cidrs)

  security_group_id = aws_security_group.door.id
  description       = "HTTPS"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_ingress_rule" "http" {
  #checkov:skip=CKV_AWS_260:Port 80 only redirects to 443, so that a typed address works.
  for_each = toset(var.allowed_cidrs)

  security_group_id = aws_security_group.door.id
  description       = "HTTP, answered by a redirect"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 80
  to_port           = 80
}

resource "aws_vpc_security_group_egress_rule" "door_to_service" {
  security_group_id            = aws_security_group.door.id
  description                  = "To the tasks"
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port
}

resource "aws_vpc_security_group_ingress_rule" "service_from_door" {
  security_group_id            = aws_security_group.service.id
  description                  = "From the load balancer"
  referenced_security_group_id = aws_security_group.door.id
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port
}

# Names are resolved by the VPC's own resolver, which no security group stands before: no rule for port 53.
resource "aws_vpc_security_group_egress_rule" "https" {
  for_each = toset(var.https_egress_cidrs)

  security_group_id = aws_security_group.service.id
  description       = "To AWS and the models"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "extra" {
  for_each = var.extra_egress

  security_group_id = aws_security_group.service.id
  description       = "To ${each.key}"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

locals {
  stores = merge(
    var.database ? { database = { group = aws_security_group.database[0].id, port = 5432 } } : {},
    var.cache ? { cache = { group = aws_security_group.cache[0].id, port = 6379 } } : {},
  )
}

resource "aws_vpc_security_group_egress_rule" "store" {
  for_each = local.stores

  security_group_id            = aws_security_group.service.id
  description                  = "To the ${each.key}"
  referenced_security_group_id = each.value.group
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "store" {
  for_each = local.stores

  security_group_id            = each.value.group
  description                  = "From the tasks"
  referenced_security_group_id = aws_security_group.service.id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}
