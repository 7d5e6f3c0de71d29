# PostgreSQL on RDS: the ledger, users, keys, budgets.

locals {
  user = "amplify"
  base = "amplify"
}

resource "aws_db_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_db_parameter_group" "this" {
  name_prefix = "${var.name}-"
  family      = "postgres17"
  description = "PostgreSQL of Amplify Chat"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  # Changes of the schema are logged; other statements are not, because they carry people's words.
  parameter {
    name  = "log_statement"
    value = "ddl"
  }

  lifecycle {
    create_before_destroy = true
  }
}

# RDS would make these itself, for ever and without the key.
resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_338:How long is the deployer's choice (log_retention_days, a year unless changed).
  for_each = toset(["postgresql", "upgrade"])

  name              = "/aws/rds/instance/${var.name}/${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

data "aws_partition" "here" {}

data "aws_iam_policy_document" "monitoring" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["monitoring.rds.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "monitoring" {
  name               = "${var.name}-rds-monitoring"
  assume_role_policy = data.aws_iam_policy_document.monitoring.json
}

resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:${data.aws_partition.here.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

resource "aws_db_instance" "this" {
  #checkov:skip=CKV_AWS_157:prod has a second zone (two_zones); elsewhere it would double the bill for nothing.
  #checkov:skip=CKV_AWS_293:prod has it (deletion_protection); a dev deployment shall be easy to remove.
  #checkov:skip=CKV_AWS_161:The service signs in by DATABASE_URL; a token that expires after 15 minutes does not fit pooled connections.
  #checkov:skip=CKV2_AWS_30:Statements carry people's words. Performance Insights shows the slow ones without them.
  identifier = var.name

  engine                     = "postgres"
  engine_version             = "17"
  auto_minor_version_upgrade = true
  instance_class             = var.instance_class

  allocated_storage     = var.storage_gb
  max_allocated_storage = var.storage_gb * 10
  storage_type          = "gp3"
  storage_encrypted     = true
  kms_key_id            = var.kms_key_arn

  db_name             = local.base
  username            = local.user
  password_wo         = var.password
  password_wo_version = var.secrets_version

  multi_az               = var.two_zones
  db_subnet_group_name   = aws_db_subnet_group.this.name
  vpc_security_group_ids = [var.security_group_id]
  publicly_accessible    = false
  ca_cert_identifier     = "rds-ca-rsa2048-g1"
  parameter_group_name   = aws_db_parameter_group.this.name

  # UTC, when few people ask.
  backup_window           = "07:00-08:00"
  maintenance_window      = "sun:08:30-sun:09:30"
  backup_retention_period = var.backup_days
  copy_tags_to_snapshot   = true

  deletion_protection       = var.protect
  skip_final_snapshot       = !var.protect
  final_snapshot_identifier = var.protect ? "${var.name}-last" : null

  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]
  performance_insights_enabled    = true
  performance_insights_kms_key_id = var.kms_key_arn
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.monitoring.arn

  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy_attachment.monitoring]
}

resource "aws_secretsmanager_secret" "url" {
  #checkov:skip=CKV2_AWS_57:Rotated by secrets_version, together with the database's password.
  name                    = "${var.name}/database-url"
  description             = "DATABASE_URL of Amplify Chat."
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.protect ? 30 : 0
}

resource "aws_secretsmanager_secret_version" "url" {
  secret_id                = aws_secretsmanager_secret.url.id
  secret_string_wo         = "postgres://${local.user}:${var.password}@${aws_db_instance.this.address}:${aws_db_instance.this.port}/${local.base}?sslmode=require"
  secret_string_wo_version = var.secrets_version
}
