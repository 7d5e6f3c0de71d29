# The service, put together. Each module is one thing; what ties them is here.

locals {
  name  = "amplify-${var.deployment_name}-chat-${var.environment}"
  short = "${var.deployment_name}-chat-${var.environment}" # for names of 32 characters at most

  port = 8080

  is_prod = var.environment == "prod"
  protect = coalesce(var.deletion_protection, local.is_prod)

  makes_vpc      = var.vpc_id == null
  makes_database = var.database_url_secret_arn == null
  makes_cache    = var.redis_url_secret_arn == null

  key_arn = var.kms_key_arn != null ? var.kms_key_arn : module.key[0].arn

  network = local.makes_vpc ? {
    vpc_id          = module.network[0].vpc_id
    public_subnets  = module.network[0].public_subnet_ids
    private_subnets = module.network[0].private_subnet_ids
    } : {
    vpc_id          = var.vpc_id
    public_subnets  = var.public_subnet_ids
    private_subnets = var.private_subnet_ids
  }
}

module "key" {
  source = "./modules/key"
  count  = var.kms_key_arn == null ? 1 : 0

  name = local.name
}

module "network" {
  source = "./modules/network"
  count  = local.makes_vpc ? 1 : 0

  name         = local.name
  cidr         = var.vpc_cidr
  zone_count   = var.zone_count
  nat_per_zone = local.is_prod # elsewhere one gateway saves money, and its zone takes the way out with it
  kms_key_arn  = local.key_arn
  log_days     = var.log_retention_days
}

module "firewall" {
  source = "./modules/firewall"

  name               = local.name
  vpc_id             = local.network.vpc_id
  port               = local.port
  allowed_cidrs      = var.allowed_cidrs
  https_egress_cidrs = var.https_egress_cidrs
  extra_egress       = var.extra_egress
  database           = local.makes_database
  cache              = local.makes_cache
}

module "registry" {
  source = "./modules/registry"

  name        = local.name
  kms_key_arn = local.key_arn
}

module "address" {
  source = "./modules/address"

  domain_name     = var.domain_name
  zone_id         = var.route53_zone_id
  certificate_arn = var.certificate_arn
  target = {
    dns_name = module.door.dns_name
    zone_id  = module.door.zone_id
  }
}

module "door" {
  source = "./modules/door"

  name              = local.short
  log_bucket        = "${local.name}-alb-${data.aws_caller_identity.here.account_id}"
  vpc_id            = local.network.vpc_id
  subnet_ids        = local.network.public_subnets
  security_group_id = module.firewall.door_id
  internal          = var.internal
  port              = local.port
  certificate_arn   = module.address.certificate_arn
  web_acl_arn       = var.web_acl_arn
  timing            = local.timing
  access_log_days   = var.access_log_days
  protect           = local.protect
}

# Random values that the service needs and nobody has to know.
module "secret" {
  source   = "./modules/secret"
  for_each = toset(concat(var.secret_key_secret_arn == null ? ["secret-key"] : [], var.metrics_token_secret_arn == null ? ["metrics-token"] : []))

  name         = "${local.name}/${each.key}"
  description  = each.key == "secret-key" ? "Signs sessions of Amplify Chat." : "What a scraper of Amplify Chat's /metrics sends as bearer token."
  kms_key_arn  = local.key_arn
  version_no   = var.secrets_version
  keep_deleted = local.protect

  providers = { aws = aws.secrets }
}

# The database's password: drawn once, read back in each run, so that what RDS has and what DATABASE_URL says are the
# same even when a run breaks off between the two.
module "database_password" {
  source = "./modules/secret"
  count  = local.makes_database ? 1 : 0

  name         = "${local.name}/database-password"
  description  = "Password of Amplify Chat's database; the service reads it inside DATABASE_URL."
  kms_key_arn  = local.key_arn
  version_no   = var.secrets_version
  keep_deleted = local.protect

  providers = { aws = aws.secrets }
}

ephemeral "aws_secretsmanager_secret_version" "database_password" {
  count    = local.makes_database ? 1 : 0
  provider = aws.secrets

  secret_id = module.database_password[0].arn
}

module "database" {
  source = "./modules/database"
  count  = local.makes_database ? 1 : 0

  name              = local.name
  subnet_ids        = local.network.private_subnets
  security_group_id = module.firewall.database_id
  instance_class    = var.database_instance_class
  storage_gb        = var.database_storage_gb
  backup_days       = var.database_backup_days
  two_zones         = local.is_prod
  kms_key_arn       = local.key_arn
  log_days          = var.log_retention_days
  password          = ephemeral.aws_secretsmanager_secret_version.database_password[0].secret_string
  secrets_version   = var.secrets_version
  protect           = local.protect
}

module "cache" {
  source = "./modules/cache"
  count  = local.makes_cache ? 1 : 0

  name              = local.short
  subnet_ids        = local.network.private_subnets
  security_group_id = module.firewall.cache_id
  node_type         = var.cache_node_type
  two_zones         = local.is_prod
  kms_key_arn       = local.key_arn
}

module "roles" {
  source = "./modules/roles"

  name              = local.name
  repository_arn    = module.registry.arn
  log_group_arn     = module.service.log_group_arn
  start_secret_arns = distinct([for arn in values(local.secrets) : join(":", slice(split(":", arn), 0, 7))]) # without a JSON key
  kms_key_arns      = concat([local.key_arn], var.platform_kms_key_arns)
  rights            = local.rights
  policy_arns       = var.platform_policy_arns
  tracing           = var.tracing
}

module "service" {
  source = "./modules/service"

  name               = local.name
  aws_region         = var.aws_region
  image              = var.image != null ? var.image : "${module.registry.url}:none-yet"
  port               = local.port
  cpu                = var.cpu
  memory             = var.memory
  cpu_architecture   = var.cpu_architecture
  environment        = local.environment
  secrets            = local.secrets
  execution_role_arn = module.roles.execution_arn
  task_role_arn      = module.roles.task_arn
  subnet_ids         = local.network.private_subnets
  security_group_id  = module.firewall.service_id
  target_group_arn   = module.door.target_group_arn
  timing             = local.timing
  spot_percent       = var.spot_percent
  kms_key_arn        = local.key_arn
  log_days           = var.log_retention_days
  rollback_alarms    = module.watch.rollback_alarms
  collector_image    = var.tracing ? var.collector_image : null

  count_of_tasks = {
    start = var.image == null ? 0 : var.desired_count
    min   = var.min_count
    max   = var.max_count
  }
  scaling = {
    cpu_percent    = var.cpu_target_percent
    memory_percent = var.memory_target_percent
    streams        = var.streams_target_per_task
  }
}

module "watch" {
  source = "./modules/watch"

  name          = local.name
  aws_region    = var.aws_region
  kms_key_arn   = local.key_arn
  emails        = var.alarm_emails
  cluster       = local.name
  service       = local.name
  min_count     = var.min_count
  max_count     = var.max_count
  streams       = var.streams_target_per_task
  log_group     = module.service.log_group_name
  load_balancer = module.door.arn_suffix
  target_group  = module.door.target_group_arn_suffix
  database      = local.makes_database ? module.database[0].id : null
  cache_nodes   = local.makes_cache ? module.cache[0].nodes : []
}
