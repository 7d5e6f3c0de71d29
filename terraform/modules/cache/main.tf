# Valkey on ElastiCache: where tasks find each other's running answers, so that a kill or a resume may land anywhere,
# and where rate limits are counted for all of them.
# Not in cluster mode: a stream's log and its signals are then at one place, and plain clients work.

locals {
  count = var.two_zones ? 2 : 1
}

resource "aws_elasticache_subnet_group" "this" {
  name        = var.name
  description = "Valkey of Amplify Chat"
  subnet_ids  = var.subnet_ids
}

resource "aws_elasticache_parameter_group" "this" {
  name        = var.name
  family      = "valkey8"
  description = "Valkey of Amplify Chat"

  # Full memory is an error that is seen, not a stream's log that silently loses its beginning.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
}

resource "aws_elasticache_replication_group" "this" {
  #checkov:skip=CKV_AWS_31:It is encrypted in transit; a token would stand in Terraform's state in clear. Only the tasks' security group gets in. Who wants a password gives redis_url_secret_arn.
  #checkov:skip=CKV2_AWS_50:prod has a second node and fails over (two_zones); without it, the streams of one minute are at stake.
  replication_group_id = var.name
  description          = "Valkey of Amplify Chat"

  engine                     = "valkey"
  engine_version             = "8.0"
  auto_minor_version_upgrade = true
  node_type                  = var.node_type
  num_cache_clusters         = local.count
  automatic_failover_enabled = var.two_zones
  multi_az_enabled           = var.two_zones
  parameter_group_name       = aws_elasticache_parameter_group.this.name
  maintenance_window         = "sun:09:30-sun:10:30" # UTC
  snapshot_retention_limit   = 0                     # nothing in it is older than some minutes
  apply_immediately          = true

  port               = 6379
  subnet_group_name  = aws_elasticache_subnet_group.this.name
  security_group_ids = [var.security_group_id]

  at_rest_encryption_enabled = true
  kms_key_id                 = var.kms_key_arn
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
}
